//! The two Rust drivers, put to a door.

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Error, Opts, OptsBuilder, ServerError};
use testbed::Door;
use tokio::task::JoinHandle;
use tokio_postgres::{AsyncMessage, Client, NoTls};

/// A PostgreSQL client; its connection is driven by a task of the runtime until the client is dropped.
pub async fn postgres(door: &Door) -> Client {
    try_postgres(&postgres_config(door))
        .await
        .expect("the door opens")
}

/// The same, with a config that a test has changed.
pub async fn try_postgres(
    config: &tokio_postgres::Config,
) -> Result<Client, tokio_postgres::Error> {
    let (client, connection) = config.connect(NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

/// A PostgreSQL client, and what the server says unasked: notices and notifications.
pub async fn postgres_listening(
    door: &Door,
) -> (
    Client,
    tokio::sync::mpsc::UnboundedReceiver<AsyncMessage>,
    JoinHandle<()>,
) {
    let (client, mut connection) = postgres_config(door)
        .connect(NoTls)
        .await
        .expect("the door opens");
    let (sender, receiver) = tokio::sync::mpsc::unbounded_channel();
    let task = tokio::spawn(async move {
        while let Some(Ok(message)) =
            std::future::poll_fn(|context| connection.poll_message(context)).await
        {
            if sender.send(message).is_err() {
                return;
            }
        }
    });
    (client, receiver, task)
}

/// How tokio-postgres is told of a door.
pub fn postgres_config(door: &Door) -> tokio_postgres::Config {
    let mut config = tokio_postgres::Config::new();
    config
        .host(door.host())
        .port(door.address.port())
        .user(&door.user)
        .password(&door.password)
        .dbname(&door.dbname);
    config
}

/// A MySQL client.
pub async fn mysql(door: &Door) -> Conn {
    Conn::new(mysql_options(door))
        .await
        .expect("the door opens")
}

/// How mysql_async is told of a door.
pub fn mysql_options(door: &Door) -> OptsBuilder {
    OptsBuilder::from_opts(Opts::default())
        .ip_or_hostname(door.host())
        .tcp_port(door.address.port())
        .user(Some(&door.user))
        .pass(Some(&door.password))
        .db_name(Some(&door.dbname))
        .prefer_socket(false)
}

/// The tenant's id, as its database says it.
pub async fn whoami(door: &Door) -> String {
    if door.kind.is_postgres() {
        postgres(door)
            .await
            .query_one("SELECT id FROM whoami", &[])
            .await
            .unwrap()
            .get(0)
    } else {
        mysql(door)
            .await
            .query_first("SELECT id FROM whoami")
            .await
            .unwrap()
            .unwrap()
    }
}

/// The first row of a query that has one.
pub async fn one<T: mysql_async::prelude::FromRow + Send + 'static>(
    client: &mut Conn,
    query: &str,
) -> T {
    client.query_first(query).await.unwrap().expect("a row")
}

/// The number of the server's own error.
pub fn code(error: &Error) -> u16 {
    match error {
        Error::Server(ServerError { code, .. }) => *code,
        other => panic!("not the server's own error: {other}"),
    }
}

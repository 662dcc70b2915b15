//! Databases that are none: what they say in place of an answer is nonsense, or they leave at once. Their clients are told
//! so; nobody else notices.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use mysql_async::prelude::Queryable;
use testbed::{Bouncer, Config, Door, Kind, Plan, Server, Tenant, World, eventually};

use crate::drivers::{mysql_options, postgres};
use crate::health::sample;
use crate::hostile::nothing_has_happened;
use crate::raw::{Complaint, Raw, message, packet, startup};

pub fn plan(plan: &mut Plan) {
    let (postgres, mariadb) = ([Kind::Postgres], [Kind::MariaDb]);
    let world = World::Bouncer;
    let name = "t04_a_database_that_is_none_at_login";
    plan.add(world, &postgres, name, no_database_at_login);
    plan.add(world, &mariadb, name, no_mysql_database_at_login);
    let name = "databases_that_ask_for_a_million_rounds_are_computed_for_one_dial_at_a_time";
    plan.add(world, &postgres, name, a_million_rounds);
    let name = "t04_a_database_that_leaves_after_each_login";
    plan.add(
        world,
        &postgres,
        name,
        a_database_that_leaves_after_each_login,
    );
    let name = "t04_a_database_that_goes_mad";
    plan.add(world, &postgres, name, a_database_that_goes_mad);
    plan.add(world, &mariadb, name, a_mysql_database_that_goes_mad);
}

/// A listener that does with each connection what it is told.
pub struct Impostor {
    /// Where it listens.
    pub address: SocketAddr,
    gone: Arc<AtomicBool>,
}

impl Impostor {
    /// On a free port; each connection is played on a thread of its own.
    pub fn new(
        play: impl Fn(&mut TcpStream) -> std::io::Result<()> + Send + Sync + 'static,
    ) -> Impostor {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let impostor = Impostor {
            address: listener.local_addr().unwrap(),
            gone: Arc::default(),
        };
        let (gone, play) = (Arc::clone(&impostor.gone), Arc::new(play));
        thread::spawn(move || {
            for stream in listener.incoming() {
                if gone.load(Ordering::Relaxed) {
                    return;
                }
                let (Ok(mut stream), play) = (stream, Arc::clone(&play)) else {
                    continue;
                };
                thread::spawn(move || {
                    let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
                    let _ = play(&mut stream);
                });
            }
        });
        impostor
    }
}

impl Drop for Impostor {
    fn drop(&mut self) {
        self.gone.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.address);
    }
}

/// One tenant before each of these, and an honest one; the door of the first is that of the first impostor.
fn before(server: &Server, impostors: &[Impostor]) -> (Vec<Tenant>, Tenant, Bouncer) {
    let honest = Tenant::on(server, "honest")
        .with("min_connections: 0")
        .with("health_check: {interval: 0}");
    let mut tenants: Vec<_> = impostors
        .iter()
        .enumerate()
        .map(|(number, impostor)| {
            let mut tenant = honest.clone();
            tenant.id = format!("{}-{number}", honest.id);
            tenant.address = impostor.address;
            for setting in [
                "min_connections: 0",
                "acquire_timeout: 10s",
                "connect_timeout: 4s",
                "health_check: {interval: 0}",
            ] {
                tenant.set(setting);
            }
            tenant.with("client_auth: trust")
        })
        .collect();
    tenants.push(honest);
    let bouncer = Bouncer::start(&Config::for_tenants(&tenants));
    let honest = tenants.pop().unwrap();
    (tenants, honest, bouncer)
}

/// What a database may say in place of its first answer, and in place of the answer to a query.
fn nonsense() -> Vec<Vec<u8>> {
    let mut said: Vec<Vec<u8>> = Vec::new();
    for kind in b"RESZDT" {
        for length in [0, 1, 3, 0x7fff_ffff, 0x8000_0000, u32::MAX] {
            said.push([&[*kind][..], &u32::to_be_bytes(length), &[b'x'; 40]].concat());
        }
    }
    said.extend([
        Vec::new(),
        message(b'E', b""),   // no field
        message(b'E', b"\0"), // no field, but an end
        message(b'E', b"C\0\0"),
        message(b'E', b"SFATAL"),
        message(b'E', &[b'M'; 200_000]),
        message(b'R', b"\0\0"),
        message(b'R', b"\0\0\0\x63"),
        message(b'R', b"\0\0\0\x0aNOTHING-WE-KNOW\0\0"),
        message(b'Z', b"?"),
        message(b'Z', b""),
        message(b'S', b"no end"),
        message(b'K', b"\0"),
        message(b'v', b"\0\0\0\x09"),
        message(b'N', b"Mho\0\0").repeat(100_000),
        message(b'!', b"what?"),
        b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(),
        vec![0x15, 3, 1, 0, 2, 2, 70],
        vec![0; 1000],
    ]);
    said
}

/// Reads PostgreSQL's startup; a request for encryption is answered N.
fn hear_startup(stream: &mut TcpStream) -> std::io::Result<()> {
    loop {
        let mut length = [0; 4];
        stream.read_exact(&mut length)?;
        let mut body = vec![0; (u32::from_be_bytes(length) as usize).saturating_sub(4)];
        stream.read_exact(&mut body)?;
        if body.len() > 4 {
            return Ok(());
        }
        stream.write_all(b"N")?;
    }
}

fn hear_message(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut head = [0; 5];
    stream.read_exact(&mut head)?;
    let mut body = vec![0; u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize - 4];
    stream.read_exact(&mut body)?;
    Ok(body)
}

/// Connects to each, and answers what each was told; all must come to their end.
fn visit(bouncer: &Bouncer, tenants: &[Tenant], then: &'static [u8]) -> Vec<Vec<u8>> {
    let visit = |door: Door| {
        let mut raw = Raw::to(door.address);
        raw.say(&startup(&[
            ("user", &door.user),
            ("database", &door.dbname),
        ]));
        raw.say(then);
        raw.rest()
    };
    let visits: Vec<_> = tenants
        .iter()
        .map(|tenant| bouncer.door(tenant))
        .map(|door| thread::spawn(move || visit(door)))
        .collect();
    visits
        .into_iter()
        .map(|visit| visit.join().unwrap())
        .collect()
}

async fn no_database_at_login(server: &'static Server) {
    let mut impostors: Vec<_> = nonsense()
        .into_iter()
        .map(|said| {
            Impostor::new(move |stream| {
                hear_startup(stream)?;
                stream.write_all(&said)
            })
        })
        .collect();
    // SCRAM with a nonce that begins as it must and does not end for long.
    for length in [2_000, 10_000, 1_000_000] {
        impostors.push(Impostor::new(move |stream| {
            challenge(stream, length, 4096)?;
            hear_message(stream)?;
            stream.write_all(&message(b'R', b"\0\0\0\x0cv=AAAA"))
        }));
    }
    let (tenants, honest, bouncer) = before(server, &impostors);
    for said in visit(&bouncer, &tenants, b"Q\0\0\0\x0dSELECT 1\0X\0\0\0\x04") {
        assert!(!said.is_empty());
    }
    nothing_has_happened(bouncer, &[&honest]).await;
}

/// A SCRAM login as far as the challenge, with a nonce that is so much longer than the client's.
fn challenge(stream: &mut TcpStream, length: usize, rounds: u32) -> std::io::Result<()> {
    hear_startup(stream)?;
    stream.write_all(&message(b'R', b"\0\0\0\x0aSCRAM-SHA-256\0\0"))?;
    let first = hear_message(stream)?;
    let at = first.windows(2).position(|two| two == b"r=");
    let rounds = format!(",s=c2FsdA==,i={rounds}");
    let challenge = [
        &b"\0\0\0\x0b"[..],
        &first[at.expect("a nonce")..],
        &vec![b'n'; length],
        rounds.as_bytes(),
    ];
    stream.write_all(&message(b'R', &challenge.concat()))
}

/// More dials than there are helper threads, each with a million rounds: whose database asks for the usual number gets in
/// before half of that is computed.
async fn a_million_rounds(server: &'static Server) {
    let (asked, answered) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let impostors: Vec<_> = (0..TENANTS)
        .map(|_| {
            let (asked, answered) = (Arc::clone(&asked), Arc::clone(&answered));
            Impostor::new(move |stream| {
                stream.set_read_timeout(Some(Duration::from_secs(60)))?;
                challenge(stream, 8, 1_000_000)?;
                asked.fetch_add(1, Ordering::SeqCst);
                hear_message(stream)?;
                answered.fetch_add(1, Ordering::SeqCst);
                Ok(())
            })
        })
        .collect();
    let (tenants, honest, bouncer) = before(server, &impostors);
    let waiting: Vec<_> = tenants
        .iter()
        .flat_map(|tenant| std::iter::repeat_n(bouncer.door(tenant), DIALS))
        .map(|door| {
            let mut raw = Raw::to(door.address);
            raw.say(&startup(&[
                ("user", &door.user),
                ("database", &door.dbname),
            ]));
            raw
        })
        .collect();
    eventually("all databases ask", || {
        (asked.load(Ordering::SeqCst) >= TENANTS * DIALS).then_some(())
    });
    let client = postgres(&bouncer.door(&honest)).await;
    client.simple_query("SELECT 1").await.unwrap();
    let computed = answered.load(Ordering::SeqCst);
    assert!(computed < TENANTS * DIALS / 2, "{computed} came before");
    drop((waiting, client));
    bouncer.stop();
}

/// How many ask for a million rounds.
const TENANTS: usize = 8;
/// How many backends of one tenant are dialled at once.
const DIALS: usize = 4;

async fn a_database_that_goes_mad(server: &'static Server) {
    let welcome = welcome();
    let impostors: Vec<_> = nonsense()
        .into_iter()
        .map(|said| {
            let welcome = welcome.clone();
            Impostor::new(move |stream| {
                hear_startup(stream)?;
                stream.write_all(&welcome)?;
                hear_message(stream)?;
                stream.write_all(&said)
            })
        })
        .collect();
    let (tenants, honest, bouncer) = before(server, &impostors);
    for said in visit(&bouncer, &tenants, b"Q\0\0\0\x0dSELECT 1\0") {
        assert!(!said.is_empty());
    }
    nothing_has_happened(bouncer, &[&honest]).await;
}

/// A balancer whose server is going, say: each login succeeds, and the connection ends with it. That is no login: who
/// waits for one is told so.
async fn a_database_that_leaves_after_each_login(server: &'static Server) {
    let last_words = b"SFATAL\0C57P01\0Mgoing\0\0";
    let said = [
        message(b'R', &[0; 4]),
        message(b'Z', b"I"),
        message(b'E', last_words),
    ]
    .concat();
    let impostors = [Impostor::new(move |stream| {
        hear_startup(stream)?;
        stream.write_all(&said)
    })];
    let (tenants, honest, bouncer) = before(server, &impostors);
    let [said] = &visit(&bouncer, &tenants, b"Q\0\0\0\x0dSELECT 1\0")[..] else {
        unreachable!()
    };
    let told = Complaint::of_postgres(&said[5..]);
    assert_eq!(told.state, "57P03", "{told:?}");
    assert!(told.message.contains("right after the login"), "{told:?}");
    nothing_has_happened(bouncer, &[&honest]).await;
}

/// What PostgreSQL says to whom it lets in without asking.
fn welcome() -> Vec<u8> {
    [
        message(b'R', &[0; 4]),
        message(b'S', b"client_encoding\0UTF8\0"),
        message(b'K', &[0, 0, 0, 1, 0, 0, 0, 2]),
        message(b'Z', b"I"),
    ]
    .concat()
}

/// Lets in whoever comes, in one protocol or the other.
pub fn let_in(postgres: bool, stream: &mut TcpStream) -> std::io::Result<()> {
    if postgres {
        hear_startup(stream)?;
        return stream.write_all(&welcome());
    }
    stream.write_all(&greeting())?;
    hear_packet(stream)?;
    stream.write_all(&packet(2, b"\0\0\0\x02\0\0\0"))
}

/// A greeting as MySQL's, of a server that can do all that a client may want, but no TLS.
fn greeting() -> Vec<u8> {
    let mut payload = b"\x0a8.0.36\0\x07\0\0\0abcdefgh\0".to_vec();
    payload.extend([0xdf, 0xf7, 45, 2, 0, 0xff, 0xff, 21]);
    payload.extend([0; 10]);
    payload.extend(b"ijklmnopqrst\0mysql_native_password\0");
    packet(0, &payload)
}

fn hear_packet(stream: &mut TcpStream) -> std::io::Result<()> {
    let mut head = [0; 4];
    stream.read_exact(&mut head)?;
    let mut payload = vec![0; u32::from_le_bytes([head[0], head[1], head[2], 0]) as usize];
    stream.read_exact(&mut payload)
}

/// What a MySQL server may say in place of an answer with this sequence id.
fn mysql_nonsense(sequence: u8) -> Vec<Vec<u8>> {
    let payloads: &[&[u8]] = &[
        b"",
        b"\0",
        b"\0\0",
        b"\xff",
        b"\xff\x10",
        b"\xff\x10\x04#",
        b"\xfe",
        b"\xfe\0",
        b"\xfenothing_we_know\0abc",
        b"\x01",
        b"\x01\x09",
        b"\x01\x04",
        b"\xfb",
        b"\xfc\xff",
        b"\xfd\xff\xff\xff",
        b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\x7f",
        &[b'x'; 20_000],
    ];
    let mut said: Vec<_> = payloads
        .iter()
        .map(|payload| packet(sequence, payload))
        .collect();
    said.extend([
        packet(sequence.wrapping_add(5), b"\0\0\0\x02\0\0\0"),
        vec![0xff, 0xff, 0xff, sequence, 0],
        vec![0; 3],
        Vec::new(),
        b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(),
    ]);
    said
}

async fn no_mysql_database_at_login(server: &'static Server) {
    let greeting = greeting();
    let cut = [0, 1, 4, 5, 12, 30, greeting.len() - 1].map(|end| {
        let mut payload = greeting[4..][..end.min(greeting.len() - 4)].to_vec();
        payload.truncate(end);
        packet(0, &payload)
    });
    let mut impostors: Vec<_> = cut
        .into_iter()
        .chain(mysql_nonsense(0))
        .map(|said| Impostor::new(move |stream| stream.write_all(&said)))
        .collect();
    impostors.extend(mysql_nonsense(2).into_iter().map(|said| {
        let greeting = greeting.clone();
        Impostor::new(move |stream| {
            stream.write_all(&greeting)?;
            hear_packet(stream)?;
            stream.write_all(&said)
        })
    }));
    mad_mysql(server, &impostors, false).await;
}

async fn a_mysql_database_that_goes_mad(server: &'static Server) {
    let impostors: Vec<_> = mysql_nonsense(1)
        .into_iter()
        .map(|said| {
            Impostor::new(move |stream| {
                stream.write_all(&greeting())?;
                hear_packet(stream)?;
                stream.write_all(&packet(2, b"\0\0\0\x02\0\0\0"))?;
                hear_packet(stream)?;
                stream.write_all(&said)
            })
        })
        .collect();
    mad_mysql(server, &impostors, true).await;
}

/// A driver at each; whatever it is told, it is told soon. Those whose answers make no sense are counted.
async fn mad_mysql(server: &Server, impostors: &[Impostor], answers: bool) {
    let (tenants, honest, bouncer) = before(server, impostors);
    let visits: Vec<_> = tenants
        .iter()
        .map(|tenant| mysql_options(&bouncer.door(tenant)))
        .map(|options| {
            tokio::spawn(async move {
                let mut client = mysql_async::Conn::new(options).await?;
                client.query_drop("SELECT 1").await
            })
        })
        .collect();
    for visit in visits {
        let told = tokio::time::timeout(testbed::PATIENCE, visit).await;
        // A driver may well break down at what it is told, but it must come to an end.
        drop(told.expect("an end"));
    }
    let lost = tenants.iter().map(|tenant| {
        let series = "dbbouncer_sessions_lost_track_total";
        sample(
            bouncer.api(),
            &format!("{series}{{tenant=\"{}\"}}", tenant.id),
        )
    });
    assert_eq!(lost.sum::<f64>() > 0.0, answers);
    nothing_has_happened(bouncer, &[&honest]).await;
}

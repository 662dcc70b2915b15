//! What comes of a PgBouncer's config lets nobody in whom it kept out, and tells no secret.

use super::complaints;
use crate::import::{Import, pgbouncer};

/// What becomes of these lines, with one user in the list.
fn imported(settings: &str, databases: &str) -> (String, String) {
    let ini = format!("[pgbouncer]\n{settings}\n[databases]\n{databases}\n");
    let hba = "host t all 10.1.0.0/16 trust\nhost all all 10.0.0.0/8 md5\n";
    let made = pgbouncer(&ini, Some("\"u\" \"p\""), &|_| Ok(hba.to_owned()));
    let Import { yaml, remarks } = made.unwrap();
    assert_eq!(complaints(&yaml), [""; 0], "{yaml}");
    (yaml, remarks.join("\n"))
}

#[test]
fn what_cannot_be_said_is_never_weaker_than_it_was() {
    let shop = "shop = host=h user=u";
    for (settings, databases, line, remark) in [
        ("", shop, "  host: \"127.0.0.1\"", "listen_addr = : no TCP"),
        ("listen_addr = ", shop, "  host: \"127.0.0.1\"", "no TCP"),
        (
            "listen_addr = ip6-localhost",
            shop,
            "  host: \"127.0.0.1\"",
            "not a name",
        ),
        (
            "listen_addr = pgb.internal, 10.0.0.1",
            shop,
            "  host: \"10.0.0.1\"",
            "pgb.internal are left out",
        ),
        ("listen_addr = *", shop, "  host: \"0.0.0.0\"", ""),
        (
            "server_tls_sslmode = Verify-Full",
            shop,
            "  sslmode: verify-full",
            "",
        ),
        (
            "server_tls_sslmode = verify-ful",
            shop,
            "  sslmode: verify-full",
            "the strictest",
        ),
        (
            "server_tls_sslmode = REQUIRE",
            shop,
            "  sslmode: require",
            "",
        ),
        ("pool_mode = Session", shop, "  pool_mode: session", ""),
        (
            "pool_mode = sesion",
            shop,
            "  pool_mode: session",
            "no pool mode",
        ),
        (
            "auth_type = HBA\nauth_hba_file = f",
            shop,
            "    allowed_addresses: [\"10.0.0.0/8\"]",
            "",
        ),
        (
            "auth_type = Trust",
            shop,
            "  client_auth: trust",
            "auth_file has not",
        ),
        (
            "auth_user = u",
            "shop = host=h user=u auth_query='SELECT a WHERE $1 AND $2'",
            "    auth_query: none",
            "nobody is looked up",
        ),
        (
            "auth_user = u",
            "shop = host=h user=u auth_user=''",
            "    auth_query: none",
            "nobody is looked up",
        ),
        (
            "auth_user = u\npool_mode = session",
            "shop = host=h pool_mode=SESSION",
            "    backend_user: client",
            "",
        ),
        (
            "client_tls_ca_file = ca",
            shop,
            "tenants:",
            "client_tls_ca_file = ca is left out",
        ),
        (
            "server_tls_cert_file = c",
            shop,
            "tenants:",
            "server_tls_cert_file = c is left out",
        ),
        (
            "max_prepared_statements = 0",
            shop,
            "tenants:",
            "prepared statements are shared here",
        ),
        (
            "auth_type = hba\nauth_hba_file = f",
            "t = host=h user=u",
            "    trust_addresses: [\"10.1.0.0/16\"]",
            "auth_file has not, too",
        ),
        (
            "listen_port = 8080",
            shop,
            "  api_port: 8081",
            "our API's port",
        ),
        (
            "",
            "shop = host=old user=u\nshop = host=new user=u",
            "    host: new",
            "[databases] shop is said more than once",
        ),
        (
            "unix_socket_dir = /run/pg",
            "shop = user=u",
            "    host: \"/run/pg\"",
            "/run/pg is taken",
        ),
        ("", "shop = user=u", "    host: \"/tmp\"", "/tmp is taken"),
        (
            "unix_socket_dir =",
            "shop = user=u",
            "    host: \"127.0.0.1\"",
            "127.0.0.1 is taken",
        ),
    ] {
        let (yaml, remarks) = imported(settings, databases);
        let is_written = yaml.lines().any(|written| written == line);
        assert!(is_written, "{settings}\n{databases}: {line}\n{yaml}");
        assert!(remarks.contains(remark), "{remark}\n{remarks}");
    }
}

#[test]
fn no_remark_holds_what_may_be_a_secret() {
    let settings = "auth_ldap_options = ldapbindpasswd=hunter2\nno_such_key = hunter2";
    let (_, remarks) = imported(
        settings,
        "shop = host=h user=u passwort=hunter2\nshop = host=h user=u password=hunter2",
    );
    assert!(remarks.contains("no_such_key") && remarks.contains("auth_ldap_options"));
    assert!(!remarks.contains("hunter2"), "{remarks}");
    let broken = |line: &str| {
        let made = pgbouncer(&format!("[databases]\n{line}\n"), None, &|_| {
            Ok(String::new())
        });
        made.err().unwrap()
    };
    for line in [
        "a = password=my hunter2",
        "a = password=my hunter2 port=5",
        "a = password='hunter2",
    ] {
        let error = broken(line);
        assert!(
            !error.contains("hunter2") && error.contains("[databases] a"),
            "{error}"
        );
    }
}

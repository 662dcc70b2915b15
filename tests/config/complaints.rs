//! What is said of a config that cannot be meant.

use dbbouncer::config::Node;

use crate::complaints;

#[test]
fn every_complaint_comes_at_once_with_its_dotted_key() {
    let text = "
listen: {host: localhost, postgres_port: 70000, api_prot: 1}
runtime: [1, 2]
limits: {login_timeout: 0, client_connections: none}
shutdown_grace: 30
tls_cert: /x
defaults: {max_connections: 0, pool_mode: statement, pool_mode: session, sslmode: requrie}
tenants:
  bad__name: {}
  t1: {db_type: postgresql, hsot: db, port: 0, dbname: '', username: 5, password: '${NONE}'}
  t1: {db_type: mysql, host: 'db:3306', dbname: d, username: u, min_connections: 9, max_connections: 3}
  t2: nothing
surprise: {}
";
    let expected = "\
listen.host: must be an IP address such as 0.0.0.0, :: or 127.0.0.1
listen.postgres_port: must be a port from 1 to 65535, or 0 for none
runtime: must be a section with keys of its own, not a list
limits.client_connections: must be a whole number from 1 to 1000000
limits.login_timeout: must be a time from 100ms to 1h
listen.api_prot: is not a known key; did you mean api_port?
shutdown_grace: needs a unit: did you mean 30s or 30ms?
defaults.pool_mode: is written more than once; keep one
defaults.max_connections: must be a whole number from 1 to 10000
defaults.pool_mode: must be session or transaction
defaults.sslmode: must be disable or prefer or require or verify-ca or verify-full; did you mean require?
tenants.t1: is written more than once; keep one
tenants.bad__name: is not a tenant's name: 1 to 63 letters, digits, dots, hyphens and single underscores are allowed, with no underscore at either end
tenants.t1.host: is missing
tenants.t1.db_type: must be postgres or mysql; did you mean postgres?
tenants.t1.port: must be a port from 1 to 65535
tenants.t1.dbname: is empty
tenants.t1.username: must be text, not a number: put it in quotes
tenants.t1.password: the environment variable NONE is not set; set it, or write `${NONE:-default}`
tenants.t1.hsot: is not a known key; did you mean host?
tenants.t1.host: must be the host name alone: the port has a key of its own, and IPv6 addresses need no brackets
tenants.t1.min_connections: 9 is more than max_connections, which is 3
tenants.t2: must be a section with keys of its own, not text
tenants.t2.db_type: is missing
tenants.t2.host: is missing
tenants.t2.dbname: is missing
tenants.t2.username: is missing
tls_cert: cannot read /x: entity not found
tls_key: is missing: tls_cert is of no use alone
surprise: is not a known key; known here: listen, runtime, limits, proxy_protocol, api_key, metrics_auth, metrics_tenant_limit, state_file, shutdown_grace, log_format, defaults, tenants, tls_mode, tls_min_version, tls_cert, tls_key, tls_client_ca, tls_sni_domain
";
    assert_eq!(complaints(text), expected);
}

#[test]
fn several_hosts_are_no_host() {
    let text = "tenants: {t: {db_type: postgres, host: 'a,b', dbname: d, username: u}}";
    let said = complaints(text);
    assert!(
        said.starts_with("tenants.t.host: must be one host"),
        "{said}"
    );
}

#[test]
fn a_variable_between_braces_is_told_to_want_quotes() {
    let tenant = |password| format!("tenants:\n  t: {{host: h, password: {password}}}\n");
    let wrong = Node::from_yaml(&tenant("${PASSWORD}")).err().unwrap();
    assert!(
        wrong.contains("line 2") && wrong.contains("must stand in quotes"),
        "{wrong}"
    );
    assert!(Node::from_yaml(&tenant("'${PASSWORD}'")).is_ok());
    let other = Node::from_yaml("a: {b: [").err().unwrap();
    assert!(!other.contains("quotes"), "{other}");
}

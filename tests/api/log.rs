//! The log: what a machine reads of it, and how much of it clients can cause.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};

use crate::plan::tests;
use crate::program::{ONE_TENANT, Program, Value, eventually};

tests! {
    every_line_is_json_with_tenant_client_and_reason,
    a_storm_of_refusals_does_not_fill_the_log,
    a_log_that_is_cut_to_nothing_goes_on_from_its_beginning,
}

/// Is refused, since it names no tenant; answers where it came from.
fn refused_client(program: &Program, user: &str) -> String {
    let mut client = TcpStream::connect((Ipv4Addr::LOCALHOST, program.postgres)).unwrap();
    let from = client.local_addr().unwrap().to_string();
    let parameters = [b"\x00\x03\x00\x00user\x00", user.as_bytes(), b"\x00\x00"].concat();
    let length = u32::try_from(parameters.len() + 4).unwrap();
    client.write_all(&length.to_be_bytes()).unwrap();
    client.write_all(&parameters).unwrap();
    let mut said = Vec::new();
    client.read_to_end(&mut said).unwrap();
    assert_eq!(said[0], b'E');
    from
}

fn every_line_is_json_with_tenant_client_and_reason() {
    let mut program = Program::start(&format!("log_format: json\napi_key: k\n{ONE_TENANT}"));
    let from = refused_client(&program, "nobody\u{1b}[2J\"\n");
    program.ask("GET", "/tenants", &["Authorization: Bearer wrong"], "");
    program.write("tenants: nonsense");
    program.signal("HUP");
    eventually("the bad file is in the log", || {
        program.log().contains("must be a section").then_some(())
    });
    program.signal("TERM");
    assert_eq!(program.ends().code(), Some(0));
    let log = program.log();
    let lines: Vec<Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect();
    for line in &lines {
        for key in ["time", "level", "target", "message"] {
            assert!(line[key].is_string(), "{key} in {line}");
        }
    }
    let refused = lines.iter().find(|line| line["client"] == from.as_str());
    let refused = refused.unwrap_or_else(|| panic!("a line of {from} in\n{log}"));
    assert_eq!(refused["reason"], "client_misnamed");
    assert_eq!(
        (&refused["level"], &refused["tenant"]),
        (&"warn".into(), &"-".into())
    );
    assert!(log.contains("stopped"));
}

fn a_storm_of_refusals_does_not_fill_the_log() {
    const STORM: usize = 400;
    let program = Program::start(ONE_TENANT);
    (0..STORM).for_each(|_| drop(refused_client(&program, "nobody")));
    // The next line that is said tells how many were not: one is, as soon as its second begins.
    let lines = || {
        let log = program.log();
        let lines = log
            .lines()
            .filter(|line| line.contains("reason=client_misnamed"));
        lines.map(ToOwned::to_owned).collect::<Vec<_>>()
    };
    let mut sent = STORM;
    let left_out = |line: &String| -> usize {
        let number = line
            .split("(and ")
            .nth(1)
            .and_then(|rest| rest.split(' ').next());
        number.map_or(0, |number| number.parse().unwrap())
    };
    eventually("each of them is in the log or counted there", || {
        refused_client(&program, "nobody");
        sent += 1;
        let lines = lines();
        let counted = lines.len() + lines.iter().map(left_out).sum::<usize>();
        (counted == sent && lines.iter().any(|line| left_out(line) > 0)).then_some(())
    });
    assert!(lines().len() < STORM, "{}", lines().len());
}

/// As logrotate does it with copytruncate, where the log was not opened to be appended to.
fn a_log_that_is_cut_to_nothing_goes_on_from_its_beginning() {
    let log = std::env::temp_dir().join(format!("dbbouncer-cut-{}.log", std::process::id()));
    let script = format!("exec \"$0\" \"$@\" 2> {}", log.display());
    let program = Program::start_by(&["sh", "-c", &script], ONE_TENANT);
    let has = |words: &str| {
        eventually(words, || {
            let text = std::fs::read_to_string(&log).unwrap();
            text.contains(words).then_some(text)
        })
    };
    has("ready: ");
    std::fs::File::create(&log).unwrap();
    let from = refused_client(&program, "nobody");
    let text = has(&from);
    assert!(!text.contains('\0'), "{text:?}");
    std::fs::remove_file(&log).unwrap();
}

use super::*;
use std::io::{Read, Write};
use std::os::unix::net::UnixListener;

/// What is said of a box that answers every connection with this, and then ends it.
fn of_box(answer: &'static [u8]) -> anyhow::Result<serde_json::Value> {
    let dir = tempfile::tempdir().expect("a directory");
    let socket = dir.path().join("s");
    let listener = UnixListener::bind(&socket).expect("a socket");
    let thread = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        let mut asked = [0; 4096];
        let n = stream.read(&mut asked).expect("a request");
        let _ = stream.write_all(answer); // the other side may have enough
        String::from_utf8_lossy(&asked[..n]).into_owned()
    });
    let which = Which { socket: Some(socket), config: None };
    let said = Client::new(&which).expect("a client").ask("/v1/status");
    assert!(thread.join().expect("it was asked").starts_with("GET /v1/status HTTP/1.1\r\n"));
    said
}

#[test]
fn answers_are_read_and_what_is_none_gets_a_clear_error() {
    let good = of_box(b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n{\"a\":1}").expect("an answer");
    assert_eq!(good, serde_json::json!({"a": 1}));
    let failure = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 49\r\n\r\n{\"error\":\"bad\",\"remedy\":\"mend\",\"known\":[\"a\",\"b\"]}";
    let hostile: [(&[u8], &str); 7] = [
        (failure, "bad: mend: a, b"),
        (b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", "ask again"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n{\"a\":", "ends early"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n{", "ends early, or is too long"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n{\"a\":", "of another version"),
        (b"{\"error\":\"not a question\"}\n", "no answer"),
        (b"", "no answer"),
    ];
    for (answer, expected) in hostile {
        let said = format!("{:#}", of_box(answer).expect_err(expected));
        assert!(said.contains(expected), "{said}, not {expected}");
    }
}

#[test]
fn the_only_box_is_asked_and_of_several_one_must_be_named() {
    let dir = tempfile::tempdir().expect("a directory");
    let said = |dir: &Path| only_one(dir).map_err(|error| error.to_string());
    assert!(said(&dir.path().join("none")).expect_err("none").contains("[admin]"));
    assert!(said(dir.path()).expect_err("none").contains("[admin]"));
    std::fs::write(dir.path().join("a.sock"), "").expect("written");
    std::fs::write(dir.path().join("registrar.socket"), "").expect("written");
    assert_eq!(said(dir.path()), Ok(dir.path().join("a.sock")));
    std::fs::write(dir.path().join("b.sock"), "").expect("written");
    let several = said(dir.path()).expect_err("two");
    assert!(several.contains("--socket") && several.contains("b.sock"), "{several}");
}

#[test]
fn a_box_that_is_not_there_is_told_with_a_remedy() {
    let dir = tempfile::tempdir().expect("a directory");
    let said = |path: PathBuf| {
        let which = Which { socket: Some(path), config: None };
        format!("{:#}", Client::new(&which).expect("a client").octets("/v1/status").expect_err("no box"))
    };
    assert!(said(dir.path().join("none")).contains("there is no box; start it"));
    let left = dir.path().join("left");
    drop(UnixListener::bind(&left).expect("a socket"));
    assert!(said(left).contains("the box has ended"));
    let denied = not_there(Path::new("/s"), &ErrorKind::PermissionDenied.into()).to_string();
    assert!(denied.contains("as root, or as a member of the group"), "{denied}");
}

#[test]
fn parameters_are_written_so_that_they_are_read() {
    let path = with_parameters("/v1/flows", [("policy", "a b&c".to_owned()), ("port", "1".to_owned())]);
    assert_eq!(path, "/v1/flows?policy=a+b%26c&port=1");
    assert_eq!(with_parameters("/v1/status", []), "/v1/status");
}

//! What the hosts do to each other, with the sockets of their kernels.

use rig::{Rig, Side};
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

/// Long enough for anything that comes at all.
const PATIENCE: Duration = Duration::from_secs(10);

/// A UDP socket on a host.
pub fn udp(rig: &Rig, side: Side, port: u16) -> UdpSocket {
    let address = (side.address(), port);
    let socket = rig.host(side).enter(move || UdpSocket::bind(address)).expect("namespace").expect("socket");
    socket.set_read_timeout(Some(PATIENCE)).expect("time-out");
    socket
}

/// Sends datagrams of these sizes from A to B's `port` and back; each must arrive as it was, and none be lost.
pub fn exchange_udp(rig: &Rig, port: u16, sizes: impl Iterator<Item = usize>) {
    let (client, server) = (udp(rig, Side::A, 0), udp(rig, Side::B, port));
    client.connect((Side::B.address(), port)).expect("connected");
    let mut buffer = vec![0; 65536];
    for size in sizes {
        let sent: Vec<u8> = (0..size).map(|i| (i * 7 + size) as u8).collect();
        client.send(&sent).expect("sent");
        let (len, from) = server.recv_from(&mut buffer).expect("a datagram of {size} octets was lost on the way there");
        assert_eq!(buffer[..len], sent, "datagram of {size} octets");
        server.send_to(&sent, from).expect("sent");
        let len = client.recv(&mut buffer).expect("a datagram was lost on the way back");
        assert_eq!(buffer[..len], sent, "datagram of {size} octets");
    }
}

/// Sends `len` octets over one TCP connection; all must arrive as they were.
pub fn send_tcp(rig: &Rig, from: Side, to_address: &'static str, port: u16, len: usize) {
    let listener = rig.host(from.other()).enter(move || TcpListener::bind((to_address, port)));
    let listener = listener.expect("namespace").expect("socket");
    let client = rig.host(from).enter(move || TcpStream::connect((to_address, port)));
    let mut client = client.expect("namespace").expect("connected");
    let (mut server, _) = listener.accept().expect("connection");
    client.set_write_timeout(Some(PATIENCE)).expect("time-out");
    server.set_read_timeout(Some(PATIENCE)).expect("time-out");
    let octet = |i: usize| (i ^ (i >> 8) ^ (i >> 16)) as u8;
    let sender = std::thread::spawn(move || {
        let octets: Vec<u8> = (0..len).map(octet).collect();
        client.write_all(&octets)
    });
    let (mut buffer, mut at) = (vec![0; 65536], 0);
    loop {
        let n = server.read(&mut buffer).expect("nothing came for too long");
        if n == 0 {
            break;
        }
        assert!(buffer[..n].iter().zip(at..).all(|(&b, i)| b == octet(i)), "octets differ after {at}");
        at += n;
    }
    sender.join().expect("sender").expect("all sent");
    assert_eq!(at, len, "not all arrived");
}

/// Sends a datagram from A that earns an ICMPv6 error; gives what the kernel makes of it.
pub fn udp_error(rig: &Rig, to: &'static str) -> ErrorKind {
    let client = udp(rig, Side::A, 0);
    client.connect((to, 9)).expect("connected");
    client.send(b"anybody?").expect("sent");
    client.recv(&mut [0; 16]).expect_err("an error comes").kind()
}

/// Asks for a box's metrics from within its namespace.
pub fn metrics(rig: &Rig, side: Side, port: u16) -> String {
    let get = move || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: box\r\nConnection: close\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    };
    rig.place(side).enter(get).expect("namespace").expect("metrics")
}

/// The value of one metric of a box, named with its labels.
pub fn metric(rig: &Rig, side: Side, port: u16, name: &str) -> Option<f64> {
    let text = metrics(rig, side, port);
    text.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
}

/// Segments that a host's kernel has sent again so far.
pub fn retransmitted(rig: &Rig, side: Side) -> u64 {
    let text = rig.host(side).check(&["cat", "/proc/net/snmp"], PATIENCE).expect("counters");
    let mut lines = text.lines().filter(|l| l.starts_with("Tcp:"));
    let (names, values) = (lines.next().expect("names"), lines.next().expect("values"));
    let mut pairs = names.split_whitespace().zip(values.split_whitespace());
    pairs.find(|(name, _)| *name == "RetransSegs").expect("RetransSegs").1.parse().expect("a number")
}

/// Status and body of what is answered on the loopback of a box's place; `None`: nobody answers.
pub fn http(rig: &Rig, side: Side, port: u16, path: &str) -> Option<(u16, String)> {
    // With HTTP/1.0 it comes in one piece, and the connection ends.
    let request = format!("GET {path} HTTP/1.0\r\nHost: box\r\n\r\n");
    let ask = move || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(2 * PATIENCE))?;
        stream.write_all(request.as_bytes())?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    };
    let text = rig.place(side).enter(ask).expect("namespace").ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
}

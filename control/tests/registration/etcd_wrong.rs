//! Registrars on etcd, and what is not as it should be: who passes boxes on, what is kept, and how etcd is reached.

use crate::etcd_leads::{Side, etcd};
use crate::lab::{Lab, SimBox, wait_for, wait_within};
use crate::strangers::{block_on, channel};
use common::identity::Kind;
use futures_util::stream;
use registration::wire::proto::secondary_client::SecondaryClient;
use registration::wire::{Forwarded, FromNode, from_node};
use rig::etcd_cluster::Etcd;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;
use tonic::Status;
use tools::pki::Authority;

/// Passes a box on with somebody's certificate.
fn forward(side: &Side, name: &str, number: usize, chain: Vec<Vec<u8>>) -> Status {
    let first =
        FromNode { message: Some(from_node::Message::Forwarded(Forwarded { chain, address: "somewhere".into() })) };
    block_on(async {
        let mut client = SecondaryClient::new(channel(side, name, number).await);
        client.register(stream::iter([first])).await.expect_err("refused")
    })
}

#[test]
fn who_may_not_pass_boxes_on_is_told_why() {
    let side = Side::of(0, "");
    let leader = side.led();
    // A registrar of this side's authority, but of another name.
    side.ok(&["pki", "issue", "--dir", "pki-west", "--registrar", "north", "--host", "127.0.0.1"]);
    for (name, number, why) in [
        ("box-3", leader, "only another registrar of this side passes boxes on; the certificate names node 'box-3'"),
        (
            "north",
            leader,
            "only another registrar of this side passes boxes on; the certificate names registrar 'north'",
        ),
        ("box-3", side.fellow(leader), "passes boxes on; the certificate names node 'box-3'"),
        ("east", leader, "UnknownIssuer"),
    ] {
        let refused = forward(&side, name, number, vec![vec![0x30; 100]]);
        assert!(refused.message().contains(why), "{name}: {refused}");
        wait_for("its log says so too", || side.says(number, why) > 0);
    }
    side.rotates();
}

/// By its authority, and by its side's operator.
#[test]
fn a_box_that_was_revoked_is_refused_through_a_follower() {
    let side = Side::of(0, "");
    let leader = side.led();
    let follower = side.fellow(leader);
    // Each began at another registrar.
    let through = usize::from(follower == side.numbers[1]);
    let name = ["box-1", "box-3"][through];
    side.ok(&["pki", "revoke", "--dir", "pki-west", name]);
    wait_for("the leader ends what the follower passes on", || {
        side.says(leader, "a box's certificate is no longer good") > 0
    });
    let b = &side.boxes[through];
    wait_for("it is told, and stays out", || b.error().contains("evoked") && !b.registration.registered());
    // The follower need not have noticed: the leader looks itself.
    let chain = CertificateDer::pem_file_iter(side.path(&format!("{name}.crt"))).expect("a certificate");
    let chain = chain.map(|c| c.expect("a certificate").to_vec()).collect();
    let refused = forward(&side, "west", leader, chain);
    assert!(refused.message().contains("evoked"), "{refused}");

    let (number, name) = [(3, "box-3"), (1, "box-1")][through];
    side.ok(&["registrar", "revoke", name, "--config", &format!("{}.toml", side.name(leader))]);
    wait_for("the other side has dropped it", || !side.boxes[2].opens(&side.boxes[1 - through]));
    let mut settings = side.settings(0, number);
    settings.registrars = vec![side.address(follower)];
    let again = SimBox::start(settings);
    wait_for("it is told", || again.error().contains("was revoked; 'pdmv2 registrar revoke --undo'"));
    assert!(!again.registration.registered() && again.sealing().is_none());
}

/// A registrar that cannot read what is kept does not lead with less, says what it is and what helps, and takes its time.
#[test]
fn what_is_kept_cannot_be_read() {
    let mut side = Side::of(0, "");
    let names = side.etcd.ok(&["get", "/pdmv2/west/records/", "--prefix", "--keys-only"]).expect("names");
    let record = names.lines().find(|l| l.contains("records/")).expect("a record").to_owned();
    let leader = side.led();
    let other = side.fellow(leader);
    for key in [record.as_str(), "/pdmv2/west/manifest"] {
        side.etcd.ok(&["put", key, "garbage"]).expect("overwritten");
    }
    side.kill(leader);
    let said = "'manifest' does not open under the state key";
    wait_for("it says so", || side.says(other, said) > 0);
    assert!(side.log(other).contains("etcdctl del --prefix"), "what helps");
    // Not before: a roll-over may have been under way until the leader was killed.
    let held: Vec<_> = side.boxes.iter().map(SimBox::sealing).collect();
    assert!(held.iter().all(Option::is_some), "{held:?}");
    std::thread::sleep(Duration::from_secs(6));
    let times = side.says(other, said);
    assert!((1..=4).contains(&times), "{times} times in some 6 s");
    assert_eq!(side.leader(), None);
    assert_eq!(side.boxes.iter().map(SimBox::sealing).collect::<Vec<_>>(), held, "boxes go on");
    side.etcd.ok(&["del", "--prefix", "/pdmv2/west/"]).expect("deleted");
    wait_within(Duration::from_secs(20), "it leads", || side.leader() == Some(other));
    side.rotates();

    // A leader's key that no registrar has written.
    side.kill(other);
    side.etcd.ok(&["put", "/pdmv2/west/leader", "garbage"]).expect("overwritten");
    side.start(leader);
    wait_for("it says so", || side.says(leader, "'etcdctl del /pdmv2/west/leader'") > 0);
    assert_eq!(side.leader(), None);
    side.etcd.ok(&["del", "/pdmv2/west/leader"]).expect("deleted");
    side.rotates();
    side.check();
}

/// A certificate and its key, for 127.0.0.1.
fn issue(lab: &Lab, authority: &str, name: &str) {
    let mut authority = Authority::init(&lab.path(authority), authority, 10)
        .or_else(|_| Authority::open(&lab.path(authority)))
        .expect("an authority");
    let issued = authority.issue(Kind::Registrar, name, &["127.0.0.1".to_owned()], 10).expect("issued");
    std::fs::write(lab.path(&format!("{name}.crt")), issued.0.pem).expect("written");
    secret(lab, &format!("{name}.key"), issued.1.as_bytes());
}

fn secret(lab: &Lab, name: &str, octets: &[u8]) {
    std::fs::write(lab.path(name), octets).expect("written");
    std::fs::set_permissions(lab.path(name), std::fs::Permissions::from_mode(0o600)).expect("closed to others");
}

/// A registrar with these lines does not lead, and says why, with the endpoint; nothing else is the matter with it.
fn refused(side: &mut Side, lines: &str, whys: &[&str]) {
    let (number, good) = (side.numbers[0], side.lab.etcd[0].clone());
    let before = side.log(number).len();
    side.kill(number);
    side.lab.etcd[0] = Some(side.etcd.lines() + lines);
    side.start_and_wait(number).expect("a registrar");
    let said = |log: &str| {
        let mut lines = log[before..].lines().filter(|l| l.contains("nobody can lead"));
        lines.any(|l| whys.iter().any(|why| l.contains(why)) && l.contains("://127.0.0.1:"))
    };
    wait_for(&format!("one of {whys:?}"), || said(&side.log(number)));
    assert_eq!(side.status(number)["role"], "follower");
    // The other goes on; boxes that come to this one find it.
    side.rotates();
    side.kill(number);
    side.lab.etcd[0] = good;
    side.start_and_wait(number).expect("a registrar");
    wait_for("all is right again", || side.status(number)["leader"] == side.name(side.led()) && side.registered());
}

/// What becomes of a request to an etcd that refuses the certificate: it closes the connection, sooner or later.
const CLOSED: &[&str] = &["transport error", "operation was canceled"];

fn tls(lab: &Lab) -> Etcd {
    ["etcd", "client"].into_iter().for_each(|name| issue(lab, "pki-etcd", name));
    issue(lab, "pki-rogue", "rogue");
    let (mut etcd, at) = (etcd(lab), |name: &str| lab.path(name).display().to_string());
    let files = |names: [&str; 3]| {
        let [certificate, key, ca] = names;
        [
            format!("{certificate}={}", at("etcd.crt")),
            format!("{key}={}", at("etcd.key")),
            format!("{ca}={}", at("pki-etcd/ca.crt")),
        ]
    };
    etcd.tls = files(["--cert-file", "--key-file", "--trusted-ca-file"]).to_vec();
    etcd.tls.push("--client-cert-auth".to_owned());
    etcd.ctl = files(["--cert", "--key", "--cacert"]).to_vec();
    etcd
}

#[test]
fn etcd_over_tls_with_client_certificates() {
    let lab = Lab::new();
    let mut etcd = tls(&lab);
    etcd.start_all().expect("etcd");
    let with =
        |ca: &str, name: &str| format!("ca = \"{ca}/ca.crt\"\ncertificate = \"{name}.crt\"\nkey = \"{name}.key\"\n");
    let mut side = Side::on(lab, etcd, 0, &with("pki-etcd", "client"));
    refused(&mut side, &with("pki-rogue", "client"), &["UnknownIssuer"]);
    refused(&mut side, "ca = \"pki-etcd/ca.crt\"\n", CLOSED);
    refused(&mut side, &with("pki-etcd", "rogue"), CLOSED);
    side.rotates();
    side.check();
}

#[test]
fn etcd_with_a_user_and_a_password() {
    let lab = Lab::new();
    let mut etcd = etcd(&lab);
    etcd.start_all().expect("etcd");
    for command in [
        "user add root:secret",
        "role add west",
        "role grant-permission west --prefix=true readwrite /pdmv2/west/",
        "user add west:password",
        "user grant-role west west",
        "user grant-role root root",
        "auth enable",
    ] {
        etcd.ok(&command.split(' ').collect::<Vec<_>>()).expect("done");
    }
    etcd.ctl = vec!["--user=root:secret".to_owned()];
    secret(&lab, "good", b"password\n");
    secret(&lab, "bad", b"another\n");
    let with = |file: &str| format!("user = \"west\"\npassword = \"{file}\"\n");
    let mut side = Side::on(lab, etcd, 0, &with("good"));
    refused(&mut side, &with("bad"), &["authentication failed"]);
    refused(&mut side, "", &["user name is empty"]);
    side.rotates();
    side.check();
}

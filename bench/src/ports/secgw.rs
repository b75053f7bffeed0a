//! DPDK's own `ipsec-secgw` on the same ports: ESP in tunnel mode, AES-128-GCM, one security association, outbound. A peer
//! to compare with, built by `bench/peers/ipsec-secgw.sh` from the distribution's source package where it can be had.

use super::environment;
use super::job::{Job, Sample};
use anyhow::{Context, Result, bail};
use rig::command::{self, until};
use rig::running::Running;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketType};
use rustix::process::Signal;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const START: Duration = Duration::from_secs(40);
const ANSWER: Duration = Duration::from_secs(5);
/// MiB of its routing tables and sessions, beside the pool.
const TABLES: usize = 512;
const BUILD: Duration = Duration::from_secs(300);

/// Everything between the two prefixes into one tunnel. It wants an association inbound too, which nothing uses.
const CONFIG: &str = "\
sp ipv6 out esp protect 5 pri 1 src 2001:0db8:000a:0000:0000:0000:0000:0000/48 dst 2001:0db8:000b:0000:0000:0000:0000:0000/48 sport 0:65535 dport 0:65535
sp ipv6 in esp protect 6 pri 1 src 2001:0db8:000b:0000:0000:0000:0000:0000/48 dst 2001:0db8:000a:0000:0000:0000:0000:0000/48 sport 0:65535 dport 0:65535
sa out 5 aead_algo aes-128-gcm aead_key 0:1:2:3:4:5:6:7:8:9:a:b:c:d:e:f:de:ad:be:ef mode ipv6-tunnel src 2001:0db8:00ff:0000:0000:0000:0000:0001 dst 2001:0db8:00ff:0000:0000:0000:0000:0002
sa in 6 aead_algo aes-128-gcm aead_key 0:1:2:3:4:5:6:7:8:9:a:b:c:d:e:f:de:ad:be:ef mode ipv6-tunnel src 2001:0db8:00ff:0000:0000:0000:0000:0002 dst 2001:0db8:00ff:0000:0000:0000:0000:0001
rt ipv6 dst 2001:0db8:00ff:0000:0000:0000:0000:0002/128 port 1
rt ipv6 dst 2001:0db8:000a:0000:0000:0000:0000:0000/48 port 0
neigh port 1 02:00:00:00:00:0b
";

/// The program, built now if need be.
///
/// # Errors
/// It cannot be built; the error says why.
pub fn find() -> Result<PathBuf> {
    let exe = std::env::current_exe().context("where is this program?")?;
    // target/release/bench: the sources lie beside target.
    let target =
        exe.ancestors().find(|d| d.file_name().is_some_and(|n| n == "target")).context("not run from target/")?;
    let (script, out) = (target.with_file_name("bench").join("peers/ipsec-secgw.sh"), target.join("peers"));
    let (script, out) = (script.display().to_string(), out.display().to_string());
    let done = command::run(&["sh", &script, &out], BUILD)?;
    if !done.status.success() {
        bail!("{}", done.stderr.trim());
    }
    Ok(Path::new(&out).join("ipsec-secgw"))
}

/// Seals the job's frames for the job's time; what leaves the outside port counts.
///
/// # Errors
/// It does not start, or forwards nothing.
pub fn measure(job: &Job, program: &Path, dir: &Path) -> Result<Sample> {
    let buffers = job.buffers();
    let config = dir.join("secgw.cfg");
    std::fs::write(&config, CONFIG).with_context(|| format!("cannot write {}", config.display()))?;
    let core = environment::cores(1)[0];
    let mut args = environment::first();
    args.push(program.display().to_string());
    args.extend(
        environment::memory(environment::pool_megabytes(buffers, 2176 + 256) + TABLES)
            .into_iter()
            .filter(|a| a != "--no-telemetry"),
    );
    args.push(format!("--lcores=1@{core}"));
    args.extend(job.devices());
    args.extend(["--vdev=crypto_aesni_gcm0", "--", "-p", "0x3", "-P", "-u", "0x2"].map(str::to_owned));
    args.extend(["--rxoffload", "0", "--txoffload", "0", "--config", "(0,0,1),(1,0,1)", "-f"].map(str::to_owned));
    args.extend([config.display().to_string(), "-s".to_owned(), buffers.to_string()]);
    let args: Vec<_> = args.iter().map(String::as_str).collect();
    let mut running = Running::start("ipsec-secgw", &args, dir)?;
    let socket = dir.join("dpdk/rte/dpdk_telemetry.v2");
    let connected = until(START, || {
        if let Some(status) = running.poll()? {
            bail!("ipsec-secgw ended ({status}):\n{}", running.tail());
        }
        Ok(Telemetry::connect(&socket).ok())
    })?;
    let telemetry = connected.context("ipsec-secgw opens no telemetry socket")?;
    until(START, || Ok(telemetry.sent(1).ok().filter(|&n| n > 0)))?
        .with_context(|| format!("ipsec-secgw forwards nothing:\n{}", running.tail()))?;
    std::thread::sleep(Duration::from_millis(250));
    // Its one thread forwards; nothing else of it works meanwhile.
    let moment = || -> Result<_> {
        Ok((Instant::now(), telemetry.sent(1)?, environment::on_core(running.pid(), running.pid())))
    };
    let before = moment()?;
    std::thread::sleep(Duration::from_secs_f64(job.seconds));
    let after = moment()?;
    if running.stop(Signal::INT, ANSWER).is_err() {
        running.stop(Signal::KILL, ANSWER)?;
    }
    let seconds = (after.0 - before.0).as_secs_f64();
    let on_core = after.2.zip(before.2).map_or(seconds, |(a, b)| a - b);
    Ok(Sample { packets: after.1 - before.1, seconds, on_core: on_core.min(seconds) })
}

/// A DPDK program's telemetry socket.
struct Telemetry(OwnedFd);

impl Telemetry {
    fn connect(path: &Path) -> Result<Self> {
        let socket = rustix::net::socket(AddressFamily::UNIX, SocketType::SEQPACKET, None)?;
        rustix::net::sockopt::set_socket_timeout(&socket, rustix::net::sockopt::Timeout::Recv, Some(ANSWER))?;
        rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
        let this = Self(socket);
        this.receive()?; // it introduces itself
        Ok(this)
    }

    fn receive(&self) -> Result<String> {
        let mut octets = vec![0u8; 16_384];
        let (read, _) = rustix::net::recv(&self.0, &mut octets[..], RecvFlags::empty())?;
        octets.truncate(read);
        Ok(String::from_utf8_lossy(&octets).into_owned())
    }

    /// Packets that a port has sent.
    fn sent(&self, port: u16) -> Result<u64> {
        rustix::net::send(&self.0, format!("/ethdev/stats,{port}").as_bytes(), SendFlags::empty())?;
        sent_of(&self.receive()?)
    }
}

fn sent_of(answer: &str) -> Result<u64> {
    let value: serde_json::Value = serde_json::from_str(answer).context("telemetry's answer")?;
    value["/ethdev/stats"]["opackets"].as_u64().with_context(|| format!("telemetry says: {answer}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_sent_are_read_from_telemetry() {
        assert_eq!(
            sent_of(r#"{"/ethdev/stats":{"ipackets":0,"opackets":1234,"q_ipackets":[0,0]}}"#).expect("read"),
            1234
        );
        assert!(sent_of(r#"{"/ethdev/stats":null}"#).is_err());
    }
}

//! Where the packets of a capture go: lines, JSON, CSV, flows; and a file for Wireshark beside any of them.

use super::DecodeArgs;
use super::flows::{Flow, Flows};
use super::plot;
use super::record::{Record, Seen};
use anyhow::Context;
use protocol::wire::ipv6;
use protocol::wire::option::Form;
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;

/// The first line of a file for Wireshark; `configs/wireshark/pdmv2.lua` looks for it.
const SIDE_FILE: &str = "# pdmv2 decode --wireshark, version 1: tag, metrics, generation, kri, box";

/// What is made of the packets.
pub(super) struct Output<'a> {
    args: &'a DecodeArgs,
    flows: Option<Flows>,
    side_file: Option<BufWriter<File>>,
    /// Packets shown.
    pub shown: u64,
}

impl<'a> Output<'a> {
    /// As the arguments want it.
    pub fn new(args: &'a DecodeArgs, out: &mut dyn Write) -> anyhow::Result<Self> {
        let side_file = args.wireshark.as_ref().map(|path| {
            // What was sealed stands there in clear, so it is for its owner alone; and nothing that is there is lost.
            let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
            let mut file = BufWriter::new(file?);
            writeln!(file, "{SIDE_FILE}")?;
            Ok::<_, io::Error>(file)
        });
        let side_file = side_file.transpose().with_context(|| {
            let path = args.wireshark.as_deref().unwrap_or(std::path::Path::new(""));
            format!("{}: cannot be made; choose another --wireshark, or move it away first", path.display())
        })?;
        if args.csv {
            if args.flows {
                Flow::write_csv_head(out)?;
            } else {
                writeln!(out, "{CSV_HEAD}")?;
            }
        }
        let flows = args.flows.then(|| Flows::new(args.max_flows, args.plot.is_some()));
        Ok(Self { args, flows, side_file, shown: 0 })
    }

    /// Takes a packet.
    pub fn take(&mut self, seen: &Seen<'_>, out: &mut dyn Write) -> io::Result<()> {
        self.shown += 1;
        if let Some(file) = &mut self.side_file {
            write_side(file, seen)?;
        }
        match &mut self.flows {
            Some(flows) => {
                flows.take(seen);
                Ok(())
            }
            None if self.args.json => {
                serde_json::to_writer(&mut *out, &Record::of(seen))?;
                writeln!(out)
            }
            None if self.args.csv => write_csv(out, seen),
            None => writeln!(out, "{}", seen.line(self.args.hex)),
        }
    }

    /// Shows what is known at the end. What is to be said beside it goes to `notes`.
    pub fn finish(self, out: &mut dyn Write, notes: &mut Vec<String>) -> anyhow::Result<()> {
        if let Some(mut file) = self.side_file {
            file.flush().context("the file for Wireshark cannot be written")?;
        }
        let Some(flows) = self.flows else { return Ok(()) };
        if flows.beyond > 0 {
            let (beyond, most) = (flows.beyond, self.args.max_flows);
            notes.push(format!(
                "{beyond} packets are of more than {most} flows, and of those only the first were looked at; raise --max-flows, of \
                 which 1000 take some 20 MB"
            ));
        }
        let flows = flows.finish();
        for flow in &flows {
            if self.args.json {
                flow.write_json(out)?;
            } else if self.args.csv {
                flow.write_csv(out)?;
            } else {
                flow.write_text(out)?;
            }
        }
        if let Some(dir) = &self.args.plot {
            let drawn = plot::draw(&flows, dir);
            let drawn = drawn.with_context(|| format!("{}: the drawings cannot be written", dir.display()))?;
            notes.push(format!("{drawn} flows are drawn in {}, those of most packets first", dir.display()));
        }
        Ok(())
    }
}

const CSV_HEAD: &str = "frame,time,within,src,sport,dst,dport,protocol,form,prseq,f,node,generation,kri,global_pointer,psntp,\
                        psnlr,delta_tlr_ns,delta_tls_ns";

/// What there is, or nothing.
fn or_empty<T: std::fmt::Display>(value: Option<T>) -> String {
    value.map(|v| v.to_string()).unwrap_or_default()
}

fn write_csv(out: &mut dyn Write, seen: &Seen<'_>) -> io::Result<()> {
    let r = Record::of(seen);
    let protocol = ipv6::name(r.protocol).map_or_else(|| r.protocol.to_string(), str::to_owned);
    write!(out, "{},{},{},", r.frame, or_empty(r.time), r.within.join(" "))?;
    write!(out, "{},{},{},{},{protocol},{},", r.src, r.sport, r.dst, r.dport, r.form)?;
    write!(out, "{},{},", or_empty(r.prseq), or_empty(r.f))?;
    let key = r.key;
    write!(
        out,
        "{},{},{},",
        or_empty(key.map(|k| &k.node)),
        or_empty(key.map(|k| k.generation)),
        or_empty(key.map(|k| k.kri))
    )?;
    let m = r.metrics;
    write!(out, "{},{},", or_empty(m.and_then(|m| m.global_pointer)), or_empty(m.map(|m| m.psntp)))?;
    let psnlr = or_empty(m.map(|m| m.psnlr));
    writeln!(out, "{psnlr},{},{}", or_empty(m.map(|m| m.delta_tlr_ns)), or_empty(m.map(|m| m.delta_tls_ns)))
}

/// A line for Wireshark: packets are found again by their tags, wherever they stand in whichever part of the capture.
fn write_side(file: &mut dyn Write, seen: &Seen<'_>) -> io::Result<()> {
    let (Some(key), Some(metrics)) = (&seen.key, &seen.metrics) else { return Ok(()) };
    if seen.form != Some(Form::Encrypted) {
        return Ok(());
    }
    let tag = seen.option.last_chunk::<16>().map(hex::encode).unwrap_or_default();
    writeln!(file, "{tag} {} {} {} {}", hex::encode(metrics.emit()), key.generation, key.kri, key.node)
}

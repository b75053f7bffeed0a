//! `pdmv2 pki`: a certification authority for the lab, certificates that name registrars and boxes, and the secrets that
//! registrars need beside them. Who has an authority of his own needs none of this: `docs/registration.md` says what a
//! certificate must hold.

mod authority;
mod certificate;

use authority::CRL_DAYS;
pub use authority::{Authority, Issued};

use anyhow::bail;
use clap::{Args, Subcommand};
use common::identity::Kind;
use common::private_file;
use negotiation::static_keys::public_keys;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Days that the authority's own certificate is good for.
const CA_DAYS: u32 = 3650;
/// Days that other certificates are good for, unless told.
const DAYS: u32 = 90;

/// `pdmv2 pki …`.
#[derive(Subcommand, Debug)]
pub enum PkiCommand {
    /// Make a certification authority in a new directory
    Init(InitArgs),
    /// Make a key and a certificate for a registrar or a box
    Issue(IssueArgs),
    /// Make a new key and certificate in place of one that was issued, with the same names
    Renew(RenewArgs),
    /// Put every certificate of a name on the revocation list
    Revoke(RevokeArgs),
    /// Write the revocation list anew, before it expires
    Crl(CrlArgs),
    /// Make a file with 32 random octets: a pre-shared key, or the key of a registrar's store
    Secret(SecretArgs),
}

/// Where the authority is.
#[derive(Args, Debug)]
pub struct DirArgs {
    /// The authority's directory
    #[arg(long, value_name = "DIR", default_value = "pki")]
    pub dir: PathBuf,
}

/// Arguments of `pdmv2 pki init`.
#[derive(Args, Debug)]
pub struct InitArgs {
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap shows the fields' own")]
    pub at: DirArgs,
    /// The authority's name, for people
    #[arg(long, default_value = "PDMv2 lab")]
    pub name: String,
    /// Days that its certificate is good for
    #[arg(long, default_value_t = CA_DAYS, value_parser = clap::value_parser!(u32).range(1..=36500))]
    pub days: u32,
}

/// Arguments of `pdmv2 pki issue`.
#[derive(Args, Debug)]
pub struct IssueArgs {
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap shows the fields' own")]
    pub at: DirArgs,
    /// For the box of this name
    #[arg(long, value_name = "NAME", required_unless_present = "registrar", conflicts_with = "registrar")]
    pub node: Option<String>,
    /// For the registrar of this name
    #[arg(long, value_name = "NAME")]
    pub registrar: Option<String>,
    /// A host name or address that the registrar is reached by; may be given several times
    #[arg(long = "host", value_name = "HOST")]
    pub hosts: Vec<String>,
    /// Days that it is good for
    #[arg(long, default_value_t = DAYS, value_parser = clap::value_parser!(u32).range(1..=3650))]
    pub days: u32,
    /// Where the files go: NAME.crt, NAME.key, and for a registrar NAME.static and NAME.static.pub
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub out: PathBuf,
}

/// Arguments of `pdmv2 pki renew`.
#[derive(Args, Debug)]
pub struct RenewArgs {
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap shows the fields' own")]
    pub at: DirArgs,
    /// Name of the box or registrar
    #[arg(value_name = "NAME")]
    pub name: String,
    /// Days that the new certificate is good for
    #[arg(long, default_value_t = DAYS, value_parser = clap::value_parser!(u32).range(1..=3650))]
    pub days: u32,
    /// Where NAME.crt and NAME.key are replaced
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub out: PathBuf,
}

/// Arguments of `pdmv2 pki revoke`.
#[derive(Args, Debug)]
pub struct RevokeArgs {
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap shows the fields' own")]
    pub at: DirArgs,
    /// Name of the box or registrar
    #[arg(value_name = "NAME")]
    pub name: String,
}

/// Arguments of `pdmv2 pki crl`.
#[derive(Args, Debug)]
pub struct CrlArgs {
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap shows the fields' own")]
    pub at: DirArgs,
    /// Days until there has to be a newer one
    #[arg(long, default_value_t = CRL_DAYS, value_parser = clap::value_parser!(u32).range(1..=3650))]
    pub days: u32,
}

/// Arguments of `pdmv2 pki secret`.
#[derive(Args, Debug)]
pub struct SecretArgs {
    /// The file to write; never overwritten
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
}

/// Runs the command and says on `out` what came of it.
///
/// # Errors
/// Each with its place and remedy.
pub fn run(command: &PkiCommand, out: &mut dyn Write) -> anyhow::Result<()> {
    match command {
        PkiCommand::Init(args) => {
            let authority = Authority::init(&args.at.dir, &args.name, args.days)?;
            writeln!(
                out,
                "Made an authority in {}: keep {} to yourself.",
                args.at.dir.display(),
                authority.key().display()
            )?;
            writeln!(
                out,
                "Give {} to every registrar and box ([tls] ca), {} to the registrars ([tls] crl).",
                authority.certificate().display(),
                authority.revocations().display()
            )?;
        }
        PkiCommand::Issue(args) => issue(args, out)?,
        PkiCommand::Renew(args) => {
            let mut authority = Authority::open(&args.at.dir)?;
            let (issued, key) = authority.renew(&args.name, args.days)?;
            let (certificate, key_file) = places(&args.out, &args.name);
            // The key first: a certificate beside the wrong key is found at once, and the old pair is of no more use.
            private_file::replace(&key_file, key.as_bytes(), 0o600)?;
            private_file::replace(&certificate, issued.pem.as_bytes(), 0o644)?;
            let until = issued.not_after;
            writeln!(out, "Renewed {} and {}: good until {until}.", certificate.display(), key_file.display())?;
        }
        PkiCommand::Revoke(args) => {
            let mut authority = Authority::open(&args.at.dir)?;
            let count = authority.revoke(&args.name)?;
            let list = authority.revocations();
            writeln!(
                out,
                "Revoked {count} certificate(s) of {}. Copy {} to the registrars.",
                args.name,
                list.display()
            )?;
            writeln!(
                out,
                "For a box also: pdmv2 registrar revoke {} (its peers then drop its secrets at once).",
                args.name
            )?;
        }
        PkiCommand::Crl(args) => {
            let mut authority = Authority::open(&args.at.dir)?;
            authority.relist(args.days)?;
            let list = authority.revocations();
            writeln!(out, "Wrote {}, good for {} days. Copy it to the registrars.", list.display(), args.days)?;
        }
        PkiCommand::Secret(args) => {
            private_file::write_new_secret(&args.out)?;
            writeln!(out, "Wrote {} (mode 0600).", args.out.display())?;
        }
    }
    Ok(())
}

fn places(dir: &Path, name: &str) -> (PathBuf, PathBuf) {
    (dir.join(format!("{name}.crt")), dir.join(format!("{name}.key")))
}

fn issue(args: &IssueArgs, out: &mut dyn Write) -> anyhow::Result<()> {
    let (kind, name) = match (&args.node, &args.registrar) {
        (Some(name), None) => (Kind::Node, name),
        (None, Some(name)) => (Kind::Registrar, name),
        _ => bail!("either --node NAME or --registrar NAME"),
    };
    let (certificate, key_file) = places(&args.out, name);
    for place in [&certificate, &key_file] {
        if place.exists() {
            bail!("{} is already there and stays as it is; 'pdmv2 pki renew {name}' replaces it", place.display());
        }
    }
    let mut authority = Authority::open(&args.at.dir)?;
    let (issued, key) = authority.issue(kind, name, &args.hosts, args.days)?;
    private_file::write_new(&key_file, key.as_bytes())?;
    private_file::write_new_public(&certificate, issued.pem.as_bytes())?;
    let until = issued.not_after;
    writeln!(out, "Wrote {} and {} (mode 0600): good until {until}.", certificate.display(), key_file.display())?;
    if kind == Kind::Registrar {
        let (seed_file, public_file) =
            (args.out.join(format!("{name}.static")), args.out.join(format!("{name}.static.pub")));
        let seed = private_file::write_new_secret(&seed_file)?;
        let text = public_keys(name, &seed);
        private_file::write_new_public(&public_file, text.as_bytes())?;
        let (seed_file, public_file) = (seed_file.display(), public_file.display());
        writeln!(out, "Wrote its static keys: {seed_file} (mode 0600); give {public_file} to the other side.")?;
    }
    Ok(())
}

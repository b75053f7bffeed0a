//! The instruction set that our own path is made to take.

use anyhow::{Result, ensure};
use clap::ValueEnum;
use protocol::aead::Path;
use serde::{Deserialize, Serialize};

/// An instruction set.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ValueEnum, Debug)]
#[serde(rename_all = "lowercase")]
pub enum Isa {
    /// 512 bits, with VAES and VPCLMULQDQ.
    Avx512,
    /// 256 bits, with VAES and VPCLMULQDQ.
    Vaes256,
    /// 128 bits, with AES-NI and PCLMULQDQ.
    Aesni,
    /// None in particular.
    Portable,
}

impl Isa {
    /// All of them, the fastest first.
    pub const ALL: [Self; 4] = [Self::Avx512, Self::Vaes256, Self::Aesni, Self::Portable];

    /// What the path chooses on this CPU when nothing is said.
    #[must_use]
    pub fn best() -> Self {
        Self::ALL.into_iter().find(|isa| isa.path().is_available()).unwrap_or(Self::Portable)
    }

    /// As the path knows it.
    #[must_use]
    pub const fn path(self) -> Path {
        match self {
            Self::Avx512 => Path::Vaes512,
            Self::Vaes256 => Path::Vaes256,
            Self::Aesni => Path::AesNi,
            Self::Portable => Path::Portable,
        }
    }

    /// Its name in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Avx512 => "avx512",
            Self::Vaes256 => "vaes256",
            Self::Aesni => "aesni",
            Self::Portable => "portable",
        }
    }

    /// Whether this CPU has it.
    #[must_use]
    pub fn is_available(self) -> bool {
        self.path().is_available()
    }

    /// Takes it for the rest of this process.
    ///
    /// # Errors
    /// This CPU does not have it, or another one was taken before.
    pub fn force(self) -> Result<()> {
        ensure!(self.is_available(), "this CPU does not have {}", self.name());
        ensure!(self.path().force(), "this process has taken another instruction set before {}", self.name());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_path_has_one_and_names_are_those_of_the_command_line() {
        let paths: Vec<_> = Isa::ALL.into_iter().rev().map(Isa::path).collect();
        assert_eq!(paths, Path::ALL);
        for isa in Isa::ALL {
            assert_eq!(Isa::from_str(isa.name(), false), Ok(isa));
        }
        assert!(Isa::best().is_available() && Isa::Portable.is_available());
    }
}

//! What the old process does about what it hears, without I/O.

/// What the old process has at the moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Holds {
    /// All: it forwards, and nobody else is anywhere near.
    Everything,
    /// The ports. It seals under the generation that it has, and takes no new one: the keys' state is the other's.
    Ports,
    /// Nothing: the other is to forward, and has not said yet that it does.
    Nothing,
    /// Nothing, and for good.
    Left,
}

/// What it hears of the new one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Heard {
    /// Who is there?
    Hello,
    /// The keys' state, please.
    Prepare,
    /// The ports, please.
    Give,
    /// It holds ports beside these: they are to stand still.
    StepAside,
    /// It forwards.
    Done,
    /// It fails, has ended, is silent, or talks nonsense; or this process could not do what was asked for.
    Lost,
}

/// What is to be done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Act {
    /// Say who this is.
    Introduce,
    /// Let the other have the keys' state.
    LetKeysGo,
    /// Let it have the ports.
    GivePortsUp,
    /// Keep the ports, and leave them alone.
    LeavePortsAlone,
    /// See to it that the other process has ended. Before anything is taken back.
    EndTheOther,
    /// Forward again.
    TakePortsUp,
    /// Take new generations again.
    TakeKeysBack,
    /// End: the other does it all.
    Leave,
    /// Speak with this one no more.
    Close,
}

impl Holds {
    /// What it has then, when all of this has been done.
    #[must_use]
    pub const fn hear(self, heard: Heard) -> (Self, &'static [Act]) {
        use Act::{
            Close, EndTheOther, GivePortsUp, Introduce, Leave, LeavePortsAlone, LetKeysGo, TakeKeysBack, TakePortsUp,
        };
        match (self, heard) {
            (Self::Everything, Heard::Hello) => (Self::Everything, &[Introduce]),
            (Self::Everything, Heard::Prepare) => (Self::Ports, &[LetKeysGo]),
            (Self::Everything, _) => (Self::Everything, &[Close]),
            (Self::Ports, Heard::Give) => (Self::Nothing, &[GivePortsUp]),
            (Self::Ports, Heard::StepAside) => (Self::Nothing, &[LeavePortsAlone]),
            (Self::Ports, _) => (Self::Everything, &[EndTheOther, TakeKeysBack, Close]),
            (Self::Nothing, Heard::Done) => (Self::Left, &[Leave, Close]),
            (Self::Nothing, _) => (Self::Everything, &[EndTheOther, TakePortsUp, TakeKeysBack, Close]),
            (Self::Left, _) => (Self::Left, &[Close]),
        }
    }
}

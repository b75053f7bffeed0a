//! What a program tells of itself, written once: one table names every figure, and all that shows figures is made from it.
//! Prometheus' text ([`prometheus`]), the JSON object ([`json`]), the table printed at the end ([`mod@print`]) and the
//! documentation ([`docs`]) each read the same row.

pub mod docs;
pub mod json;
pub mod print;
pub mod prometheus;

/// The table of one program.
pub struct Book<T: 'static> {
    /// Every figure, in the order in which it is shown.
    pub figures: &'static [Figure<T>],
    /// What figures are divided by.
    pub labels: &'static [Label],
}

/// One figure. `T` is what it is read from.
pub struct Figure<T> {
    /// Its name for Prometheus; empty: not there.
    pub name: &'static str,
    /// How it moves.
    pub kind: Kind,
    /// What is counted or measured; empty: a bare number, or a name.
    pub unit: &'static str,
    /// What it is divided by: names out of [`Book::labels`].
    pub labels: &'static [&'static str],
    /// Its place in JSON, `outbound.received`; empty: not there. `{direction}` is the value of a label, `policies[]` an
    /// array with an element for each sample.
    pub json: &'static str,
    /// What it means, in one or two sentences.
    pub help: &'static str,
    /// Where it is printed at the end.
    pub print: Print,
    /// Samples of 0 are left out. For labels of many values, of which most never occur.
    pub sparse: bool,
    /// Reads it.
    pub read: Read<T>,
}

/// How a figure moves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// It only grows.
    Counter,
    /// It goes up and down.
    Gauge,
    /// Times, by how long they are.
    Histogram,
    /// Always 1: its labels tell something.
    Info,
    /// A word, which Prometheus has no place for.
    Word,
}

/// Where a figure stands in the table printed at the end. `{}` in a text is the value, `{policy}` the value of a label,
/// `{direction.meaning}` what that value means. What follows `|` is printed when the value says no.
#[derive(Clone, Copy, Debug)]
pub enum Print {
    /// Nowhere.
    No,
    /// A part of this line, which begins so.
    On(&'static str, &'static str),
    /// The same; the line is left out when all its values are 0.
    IfAny(&'static str, &'static str),
    /// A line of its own below that line, when it is not 0.
    Below(&'static str, &'static str),
}

/// How a figure is read.
pub enum Read<T> {
    /// One number.
    Count(fn(&T) -> u64),
    /// One value.
    One(fn(&T) -> Value),
    /// Several, by label. None: there is nothing to say of it at the moment.
    Each(fn(&T) -> Vec<Sample>),
}

/// One value, with a value for each label of its figure, in their order.
#[derive(Clone, PartialEq, Debug)]
pub struct Sample {
    /// The values of the labels.
    pub labels: Vec<String>,
    /// The value.
    pub value: Value,
}

impl Sample {
    /// With these values of its labels.
    pub fn new<L: ToString>(labels: impl IntoIterator<Item = L>, value: impl Into<Value>) -> Self {
        Self { labels: labels.into_iter().map(|l| l.to_string()).collect(), value: value.into() }
    }
}

/// A value.
#[derive(Clone, PartialEq, Debug)]
pub enum Value {
    /// A number of things.
    Count(u64),
    /// A measure.
    Amount(f64),
    /// Yes or no.
    Flag(bool),
    /// A word.
    Word(String),
    /// One of the values that the figure's label has.
    State(&'static str),
    /// Times.
    Times(Box<Times>),
    /// There is none: `null` in JSON, 0 for Prometheus.
    Nothing,
}

impl Value {
    /// Whether it says no: nothing to tell of where only what has occurred is told.
    #[must_use]
    pub fn is_zero(&self) -> bool {
        match self {
            Self::Count(n) => *n == 0,
            Self::Amount(amount) => *amount == 0.0,
            Self::Flag(is) => !is,
            Self::Times(times) => times.count == 0,
            Self::Nothing => true,
            Self::Word(_) | Self::State(_) => false,
        }
    }
}

impl From<u64> for Value {
    fn from(n: u64) -> Self {
        Self::Count(n)
    }
}

impl From<f64> for Value {
    fn from(amount: f64) -> Self {
        Self::Amount(amount)
    }
}

impl From<bool> for Value {
    fn from(is: bool) -> Self {
        Self::Flag(is)
    }
}

impl From<&str> for Value {
    fn from(word: &str) -> Self {
        Self::Word(word.to_owned())
    }
}

impl<V: Into<Self>> From<Option<V>> for Value {
    fn from(value: Option<V>) -> Self {
        value.map_or(Self::Nothing, Into::into)
    }
}

/// How long something took, all samples together.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Times {
    /// Samples.
    pub count: u64,
    /// Their sum, in nanoseconds.
    pub sum_ns: u64,
    /// Half of them are shorter.
    pub p50_ns: u64,
    /// 90 per cent are shorter.
    pub p90_ns: u64,
    /// 99 per cent are shorter.
    pub p99_ns: u64,
    /// How many took no longer than so many nanoseconds, in ascending order.
    pub within: Vec<(u64, u64)>,
}

impl Times {
    /// The mean, 0 of none.
    #[must_use]
    pub fn mean_ns(&self) -> u64 {
        self.sum_ns.checked_div(self.count).unwrap_or(0)
    }
}

/// What figures are divided by.
pub struct Label {
    /// Its name.
    pub name: &'static str,
    /// What it says.
    pub help: &'static str,
    /// The values there are, and what each means; none: they come from the configuration.
    pub values: fn() -> Vec<(&'static str, &'static str)>,
}

impl<T> Figure<T> {
    const fn new(kind: Kind, name: &'static str, unit: &'static str, help: &'static str, read: Read<T>) -> Self {
        Self { name, kind, unit, labels: &[], json: "", help, print: Print::No, sparse: false, read }
    }

    /// It only grows.
    pub const fn counter(name: &'static str, unit: &'static str, help: &'static str, read: Read<T>) -> Self {
        Self::new(Kind::Counter, name, unit, help, read)
    }

    /// It goes up and down.
    pub const fn gauge(name: &'static str, unit: &'static str, help: &'static str, read: Read<T>) -> Self {
        Self::new(Kind::Gauge, name, unit, help, read)
    }

    /// Times.
    pub const fn histogram(name: &'static str, help: &'static str, read: Read<T>) -> Self {
        Self::new(Kind::Histogram, name, "seconds", help, read)
    }

    /// Always 1.
    pub const fn info(name: &'static str, help: &'static str, read: Read<T>) -> Self {
        Self::new(Kind::Info, name, "", help, read)
    }

    /// Not for Prometheus.
    pub const fn word(help: &'static str, read: Read<T>) -> Self {
        Self::new(Kind::Word, "", "", help, read)
    }

    /// Divided by these.
    #[must_use]
    pub const fn by(self, labels: &'static [&'static str]) -> Self {
        Self { labels, ..self }
    }

    /// With this place in JSON.
    #[must_use]
    pub const fn json(self, json: &'static str) -> Self {
        Self { json, ..self }
    }

    /// Printed there at the end.
    #[must_use]
    pub const fn print(self, print: Print) -> Self {
        Self { print, ..self }
    }

    /// Only samples that are not 0.
    #[must_use]
    pub const fn sparse(self) -> Self {
        Self { sparse: true, ..self }
    }

    /// All samples, those of 0 too.
    fn samples(&self, of: &T) -> Vec<Sample> {
        match self.read {
            Read::Count(read) => vec![Sample { labels: Vec::new(), value: Value::Count(read(of)) }],
            Read::One(read) => vec![Sample { labels: Vec::new(), value: read(of) }],
            Read::Each(read) => read(of),
        }
    }

    /// The samples that are shown.
    fn shown(&self, of: &T) -> impl Iterator<Item = Sample> {
        let sparse = self.sparse;
        self.samples(of).into_iter().filter(move |sample| !(sparse && sample.value.is_zero()))
    }
}

impl<T> Book<T> {
    fn label(&self, name: &str) -> Option<&Label> {
        self.labels.iter().find(|label| label.name == name)
    }
}

/// A table as the tests of the renderers need it.
#[cfg(test)]
mod example {
    use super::{Book, Figure, Label, Print, Read, Sample, Times, Value};

    pub struct World {
        pub seen: u64,
        pub key: Option<u64>,
    }

    const SIDES: fn(&World) -> Vec<Sample> = |w| vec![Sample::new(["left"], w.seen), Sample::new(["right"], 0u64)];

    type Row = Figure<World>;

    pub static BOOK: Book<World> = Book {
        figures: &[
            Row::word("Its name.", Read::One(|_| "w".into())).json("name").print(Print::On("name:", " {}")),
            Row::counter("a_seen_total", "things", "Seen.", Read::Count(|w| w.seen))
                .json("seen")
                .print(Print::On("all:", " {} seen")),
            Row::gauge("a_key", "", "Key.", Read::One(|w| w.key.into()))
                .json("key")
                .print(Print::On("all:", ", key {}|, no key")),
            Row::counter("a_side_total", "things", "Seen, by side | of all.", Read::Each(SIDES))
                .by(&["side"])
                .json("sides.{side}")
                .sparse()
                .print(Print::Below("all:", "on the {side.meaning}")),
            Row::counter("a_place_total", "things", "Seen, by place.", Read::Each(SIDES))
                .by(&["side"])
                .json("places[].seen"),
            Row::gauge("a_state", "", "State.", Read::One(|_| Value::State("right"))).by(&["side"]).json("state"),
            Row::histogram("a_wait_seconds", "Waits.", Read::One(|w| Value::Times(Box::new(waits(w.seen)))))
                .json("waits")
                .print(Print::IfAny("wait:", " {}")),
            Row::counter("a_turn_total", "turns", "Turns.", Read::Each(|w| vec![Sample::new(["left"], w.seen)]))
                .by(&["side"])
                .print(Print::On("all:", "; turns: {} left")),
            Row::counter("a_turn_total", "turns", "The others.", Read::Each(|_| vec![Sample::new(["right"], 1u64)]))
                .by(&["side"])
                .print(Print::On("all:", ", {} right")),
            Row::info("a_build_info", "Build.", Read::Each(|_| vec![Sample::new(["1.2"], 1u64)])).by(&["version"]),
        ],
        labels: &[
            Label { name: "side", help: "Where.", values: || vec![("left", "near side"), ("right", "far side")] },
            Label { name: "version", help: "The program's.", values: Vec::new },
        ],
    };

    fn waits(count: u64) -> Times {
        let (p50_ns, p90_ns, p99_ns) = (1000 * count.min(1), 2000, 3500);
        Times { count, sum_ns: 1500 * count, p50_ns, p90_ns, p99_ns, within: vec![(1000, 0), (2000, count)] }
    }
}

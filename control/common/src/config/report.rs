//! What is wrong in a file, where, and what to do about it. Everything is collected, so that one run shows it all.

use std::fmt;
use std::path::Path;

/// One error or warning.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    /// The file as the operator named it.
    pub file: String,
    /// Line, from 1; 0 when the problem is the file itself.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub remedy: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line == 0 {
            write!(f, "{}: {}; {}", self.file, self.message, self.remedy)
        } else {
            write!(f, "{}:{}:{}: {}; {}", self.file, self.line, self.column, self.message, self.remedy)
        }
    }
}

/// Every error of a file, in the order of the file. Never empty.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Errors(pub Vec<Problem>);

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Errors {}

impl Errors {
    /// One error about the file as a whole.
    pub fn of_file(file: &str, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self(vec![Problem {
            file: file.to_owned(),
            line: 0,
            column: 0,
            message: message.into(),
            remedy: remedy.into(),
        }])
    }
}

/// A value and where it stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct At<T> {
    /// The value.
    pub value: T,
    /// Octets from the start of the text.
    pub at: usize,
}

/// Collects the problems of one text.
#[derive(Debug)]
pub struct Report<'t> {
    file: &'t str,
    text: &'t str,
    errors: Vec<Problem>,
    warnings: Vec<Problem>,
    /// Files that the text names, and where.
    files: Vec<(String, usize)>,
}

impl<'t> Report<'t> {
    /// For this text of this file.
    #[must_use]
    pub fn new(file: &'t str, text: &'t str) -> Self {
        Self { file, text, errors: Vec::new(), warnings: Vec::new(), files: Vec::new() }
    }

    /// The text names a file here.
    pub fn names(&mut self, path: &Path, at: usize) {
        self.files.push((path.display().to_string(), at));
    }

    /// What is wrong with a file that the text names, and that the message names too: its place is where the text does.
    /// A message that names none of them has its place at `at`.
    pub fn error_in_files(&mut self, at: usize, message: impl Into<String>, remedy: impl Into<String>) {
        let message = message.into();
        // The longest: "west.static" stands in "west.static.pub" too.
        let named = self.files.iter().filter(|(file, _)| message.contains(file.as_str()));
        let at = named.max_by_key(|(file, _)| file.len()).map_or(at, |(_, at)| *at);
        self.error(at, message, remedy);
    }

    /// Something that must be mended.
    pub fn error(&mut self, at: usize, message: impl Into<String>, remedy: impl Into<String>) {
        let problem = self.problem(at, message.into(), remedy.into());
        self.errors.push(problem);
    }

    /// Something that works, but hardly as meant.
    pub fn warn(&mut self, at: usize, message: impl Into<String>, remedy: impl Into<String>) {
        let problem = self.problem(at, message.into(), remedy.into());
        self.warnings.push(problem);
    }

    /// Errors of another file that this one names.
    pub fn adopt(&mut self, errors: Errors) {
        self.errors.extend(errors.0);
    }

    /// The value and the warnings, or every error.
    pub fn finish<T>(mut self, value: Option<T>) -> Result<(T, Vec<Problem>), Errors> {
        match value {
            Some(value) if self.errors.is_empty() => Ok((value, self.warnings)),
            _ => {
                let file = self.file;
                self.errors.sort_by_key(|p| (p.file != file, p.line, p.column));
                Err(Errors(self.errors))
            }
        }
    }

    /// File, line and column, for messages that come later.
    #[must_use]
    pub fn place(&self, at: usize) -> String {
        let Problem { file, line, column, .. } = self.problem(at, String::new(), String::new());
        format!("{file}:{line}:{column}")
    }

    fn problem(&self, at: usize, message: String, remedy: String) -> Problem {
        let before = self.text.get(..at).unwrap_or(self.text);
        let line = before.bytes().filter(|&b| b == b'\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        Problem { file: self.file.to_owned(), line, column, message, remedy }
    }
}

/// The name among `known` that `name` was probably meant to be.
#[must_use]
pub fn nearest<'k>(name: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    known
        .into_iter()
        .map(|k| (strsim::damerau_levenshtein(&name.to_lowercase().replace('-', "_"), &k.replace('-', "_")), k))
        .filter(|(distance, k)| *distance <= 2.max(k.len() / 3) && *distance < k.len())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, k)| k)
}

/// "did you mean 'x'?" or, when nothing is near, all that is known.
#[must_use]
pub fn suggestion(name: &str, known: &[&str]) -> String {
    match nearest(name, known.iter().copied()) {
        Some(near) => format!("did you mean '{near}'?"),
        None if known.is_empty() => "delete it".to_owned(),
        None => format!("use one of: {}", known.join(", ")),
    }
}

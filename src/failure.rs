//! What a person reads when gpuckpt itself fails: what failed, why, and what to
//! do, with a code under which `docs/errors.md` says more.

use std::fmt;

/// Every failure of the command line. `docs/errors.md` has a heading for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    Usage,
    CommandNotFound,
    CannotExecute,
    BadName,
    DirUnusable,
    Incomplete,
    StartFailed,
    JobRunning,
    NoJob,
    SeveralJobs,
    OtherHost,
    NotYours,
    NoAnswer,
    JobGone,
    Refused,
    CheckpointFailed,
    NoImage,
    SeveralImages,
    ImageDamaged,
}

impl Code {
    #[cfg(test)]
    pub(crate) const ALL: [Code; 19] = [
        Code::Usage,
        Code::CommandNotFound,
        Code::CannotExecute,
        Code::BadName,
        Code::DirUnusable,
        Code::Incomplete,
        Code::StartFailed,
        Code::JobRunning,
        Code::NoJob,
        Code::SeveralJobs,
        Code::OtherHost,
        Code::NotYours,
        Code::NoAnswer,
        Code::JobGone,
        Code::Refused,
        Code::CheckpointFailed,
        Code::NoImage,
        Code::SeveralImages,
        Code::ImageDamaged,
    ];

    /// The code as people see it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Code::Usage => "usage",
            Code::CommandNotFound => "command-not-found",
            Code::CannotExecute => "cannot-execute",
            Code::BadName => "bad-name",
            Code::DirUnusable => "dir-unusable",
            Code::Incomplete => "incomplete-installation",
            Code::StartFailed => "start-failed",
            Code::JobRunning => "job-running",
            Code::NoJob => "no-job",
            Code::SeveralJobs => "several-jobs",
            Code::OtherHost => "other-host",
            Code::NotYours => "not-yours",
            Code::NoAnswer => "no-answer",
            Code::JobGone => "job-gone",
            Code::Refused => "refused",
            Code::CheckpointFailed => "checkpoint-failed",
            Code::NoImage => "no-image",
            Code::SeveralImages => "several-images",
            Code::ImageDamaged => "image-damaged",
        }
    }

    /// The exit status.
    pub(crate) fn status(self) -> i32 {
        match self {
            Code::CommandNotFound => 127,
            Code::CannotExecute => 126,
            _ => Failure::STATUS,
        }
    }
}

/// A failure, told completely.
#[derive(Debug)]
pub(crate) struct Failure {
    /// Its place in the catalogue.
    pub(crate) code: Code,
    /// What failed, on what.
    pub(crate) what: String,
    /// Why; one string a cause.
    pub(crate) why: Vec<String>,
    /// What to do about it; may be empty.
    pub(crate) advice: String,
}

/// What the subcommands return: usually an exit status.
pub(crate) type Result<T, E = Failure> = std::result::Result<T, E>;

impl Failure {
    /// Exit status of gpuckpt's own failures.
    pub(crate) const STATUS: i32 = 125;

    /// A failure with one cause.
    pub(crate) fn new(code: Code, what: impl Into<String>, why: impl ToString) -> Self {
        let (what, why) = (what.into(), vec![why.to_string()]);
        let advice = String::new();
        Self {
            code,
            what,
            why,
            advice,
        }
    }

    /// Adds what to do.
    pub(crate) fn advise(mut self, advice: impl Into<String>) -> Self {
        self.advice = advice.into();
        self
    }

    pub(crate) fn status(&self) -> i32 {
        self.code.status()
    }

    /// Writes it to standard error.
    pub(crate) fn report(&self) {
        eprint!("{self}");
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let code = self.code.name();
        match self.why.as_slice() {
            [] => writeln!(out, "gpuckpt: {} [{code}]", self.what)?,
            [why] => writeln!(out, "gpuckpt: {}: {why} [{code}]", self.what)?,
            several => {
                writeln!(out, "gpuckpt: {}: [{code}]", self.what)?;
                for why in several {
                    writeln!(out, "  - {why}")?;
                }
            }
        }
        if !self.advice.is_empty() {
            writeln!(out, "  {}", self.advice)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_catalogue_has_each_code_and_no_other() {
        let catalogue = include_str!("../docs/errors.md");
        let headings: BTreeSet<&str> = catalogue
            .lines()
            .filter_map(|line| line.strip_prefix("### `")?.strip_suffix('`'))
            .collect();
        let codes: BTreeSet<&str> = Code::ALL.iter().map(|code| code.name()).collect();
        assert_eq!(codes.len(), Code::ALL.len(), "two codes share a name");
        assert_eq!(headings, codes);
    }

    #[test]
    fn one_cause_stands_on_the_first_line() {
        let failure = Failure::new(Code::NoJob, "cannot checkpoint `a`", "it does not run")
            .advise("`gpuckpt status` lists the jobs");
        assert_eq!(
            failure.to_string(),
            "gpuckpt: cannot checkpoint `a`: it does not run [no-job]\n  \
             `gpuckpt status` lists the jobs\n"
        );
        assert_eq!(failure.status(), 125);
    }

    #[test]
    fn several_causes_stand_below_each_other() {
        let mut failure = Failure::new(Code::Refused, "cannot save `a`", "one");
        failure.why.push("two".to_string());
        assert_eq!(
            failure.to_string(),
            "gpuckpt: cannot save `a`: [refused]\n  - one\n  - two\n"
        );
    }
}

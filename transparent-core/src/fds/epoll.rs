//! Sets of watched descriptors (epoll(7)).
//!
//! The kernel watches open files and remembers the number under which each was
//! added. Edges and one-shot states come back as far as they show in the events; an
//! edge-triggered file that is ready is reported once more, which is allowed.

use super::look::Look;
use super::survey::Survey;
use crate::{Refusal, sys};
use serde::{Deserialize, Serialize};

/// An epoll set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Epoll {
    /// What it watches.
    pub watches: Vec<Watch>,
}

/// One entry of a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watch {
    /// The number under which it was added.
    pub number: i32,
    /// Events and flags.
    pub events: u32,
    /// The program's own word.
    pub data: u64,
}

pub(super) fn take(look: &Look, survey: &Survey<'_>) -> Result<Epoll, Refusal> {
    let mut watches = Vec::new();
    for (_, value) in look.info.iter().filter(|(key, _)| key == "tfd") {
        let Some((watch, inode)) = parse(value) else {
            return Err(look.refuse("the kernel does not show its set", "use a newer kernel"));
        };
        let target = survey
            .groups
            .iter()
            .flat_map(|g| &g.looks)
            .find(|l| l.fd == watch.number);
        let same = target.is_some_and(|l| {
            sys::objects::epoll_watches(look.fd, watch.number, l.fd)
                .unwrap_or_else(|_| inode.is_none_or(|inode| inode == l.inode))
        });
        if !same {
            let why = format!(
                "it watches a file under the number {}, which has been closed or used again",
                watch.number
            );
            return Err(look.refuse(why, "remove a descriptor from the set before closing it"));
        }
        watches.push(watch);
    }
    Ok(Epoll { watches })
}

/// `       5 events:       19 data:                5  pos:0 ino:61ef sdev:7`
fn parse(value: &str) -> Option<(Watch, Option<u64>)> {
    let mut words = value.replace(':', " ");
    words.make_ascii_lowercase();
    let mut words = words.split_ascii_whitespace();
    let number = words.next()?.parse().ok()?;
    let (mut events, mut data, mut inode) = (None, None, None);
    while let (Some(key), Some(word)) = (words.next(), words.next()) {
        match key {
            "events" => events = u32::from_str_radix(word, 16).ok(),
            "data" => data = u64::from_str_radix(word, 16).ok(),
            "ino" => inode = u64::from_str_radix(word, 16).ok(),
            _ => {}
        }
    }
    let watch = Watch {
        number,
        events: events?,
        data: data?,
    };
    Some((watch, inode))
}

impl Epoll {
    /// Adds everything again; all descriptors are at their numbers.
    pub(super) fn fill(&self, fd: i32) -> std::io::Result<()> {
        for watch in &self.watches {
            sys::objects::epoll_add(fd, watch.number, watch.events, watch.data)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_line_is_read() {
        let line = "       5 events: 80000019 data: 7fffdeadbeef0005  pos:0 ino:61ef sdev:7";
        let watch = Watch {
            number: 5,
            events: 0x8000_0019,
            data: 0x7fff_dead_beef_0005,
        };
        assert_eq!(parse(line), Some((watch, Some(0x61ef))));
        assert_eq!(parse("nonsense"), None);
    }
}

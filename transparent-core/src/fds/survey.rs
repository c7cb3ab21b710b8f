//! Goes through the program's descriptors, groups those that share an open file
//! description, and asks each kind to take its objects.

use super::look::{Look, open_numbers};
use super::{
    Descriptor, FdTable, Kind, OpenFile, StandardStreams, device, directory, epoll, eventfd,
    kernel, pipe, regular, signalfd, socketpair, standard, terminal, timerfd,
};
use crate::apart::hold;
use crate::{Refusal, sys};
use std::cmp::Ordering;
use std::collections::HashMap;
use std::os::fd::AsRawFd;

/// Descriptors of one open file description, by number.
#[derive(Clone, Debug)]
pub(super) struct Group {
    pub(super) looks: Vec<Look>,
}

impl Group {
    /// The one with the lowest number.
    pub(super) fn first(&self) -> &Look {
        &self.looks[0]
    }
}

/// What the kinds know beyond their own group.
pub(super) struct Survey<'a> {
    pub(super) streams: &'a StandardStreams,
    pub(super) groups: Vec<Group>,
    /// The program is parked: contents may be looked at.
    pub(super) stopped: bool,
}

pub(super) fn survey(
    is_ours: &dyn Fn(i32) -> bool,
    streams: &StandardStreams,
    stopped: bool,
) -> Result<FdTable, Vec<Refusal>> {
    let unreadable = |e: std::io::Error| vec![Refusal::of_proc("/proc/self/fd", &e)];
    let mut looks = Vec::new();
    for fd in open_numbers().map_err(unreadable)? {
        if !is_ours(fd) {
            looks.extend(Look::at(fd).map_err(unreadable)?);
        }
    }
    let survey = Survey {
        streams,
        groups: group(looks, stopped),
        stopped,
    };
    let mut table = FdTable::default();
    let mut refused = Vec::new();
    let mut known = Known::default();
    for group in &survey.groups {
        match survey.take(group, &mut table, &mut known) {
            Ok(kind) => {
                let file = table.files.len() as u32;
                let first = group.first();
                table.files.push(OpenFile {
                    label: first.link.to_string(),
                    flags: first.flags,
                    kind,
                });
                table
                    .descriptors
                    .extend(group.looks.iter().map(|look| Descriptor {
                        number: look.fd,
                        close_on_exec: look.close_on_exec,
                        file,
                    }));
            }
            Err(refusal) => refused.push(refusal),
        }
    }
    table.descriptors.sort_unstable_by_key(|d| d.number);
    if refused.is_empty() {
        Ok(table)
    } else {
        Err(refused)
    }
}

/// Objects with several ends, by inode, that an end has led to already.
#[derive(Default)]
struct Known {
    pipes: HashMap<u64, u32>,
    sockets: HashMap<u64, (u32, u32)>,
}

impl Survey<'_> {
    fn take(&self, group: &Group, table: &mut FdTable, known: &mut Known) -> Result<Kind, Refusal> {
        let look = group.first();
        if look.flags & libc::O_PATH != 0 {
            return directory::take_path(look).map(Kind::Place);
        }
        if let Some(lock) = look.value("lock") {
            let why = format!("it holds a file lock ({lock})");
            return Err(look.refuse(why, "release the lock before the checkpoint"));
        }
        if look.flags & libc::O_ASYNC != 0 {
            let why = "signal-driven I/O (O_ASYNC) is not supported";
            return Err(look.refuse(why, "use poll or epoll"));
        }
        if look.link.0.starts_with(b"anon_inode:") {
            return self.anonymous(look);
        }
        match look.file_type() {
            libc::S_IFREG if kernel::is_kernels(look) => kernel::take(look).map(Kind::Kernel),
            libc::S_IFREG => regular::take(look, self).map(Kind::Regular),
            libc::S_IFDIR => directory::take(look).map(Kind::Place),
            libc::S_IFCHR if terminal::is_terminal(look) => terminal::take(group, self),
            libc::S_IFCHR => device::take(look).map(Kind::Device),
            libc::S_IFIFO if look.link.0.starts_with(b"pipe:[") => {
                pipe::take(group, self, &mut table.pipes, &mut known.pipes)
            }
            libc::S_IFIFO => standard::or_refuse(
                group,
                self,
                "a named pipe cannot be saved yet",
                "use an unnamed pipe",
            ),
            libc::S_IFSOCK => socketpair::take(group, self, &mut table.pairs, &mut known.sockets),
            _ => Err(look.refuse(
                "this kind of object is not supported",
                "close it before the checkpoint",
            )),
        }
    }

    fn anonymous(&self, look: &Look) -> Result<Kind, Refusal> {
        match look.link.0.as_slice() {
            b"anon_inode:[eventfd]" => eventfd::take(look, self.stopped).map(Kind::Eventfd),
            b"anon_inode:[eventpoll]" => epoll::take(look, self).map(Kind::Epoll),
            b"anon_inode:[timerfd]" => timerfd::take(look).map(Kind::Timerfd),
            b"anon_inode:[signalfd]" => signalfd::take(look).map(Kind::Signalfd),
            _ => Err(look.refuse(
                "this kind of object is not supported",
                "close it before the checkpoint",
            )),
        }
    }
}

/// Groups by open file description, in the order of the lowest numbers.
fn group(looks: Vec<Look>, stopped: bool) -> Vec<Group> {
    let kernel_tells = looks
        .first()
        .is_some_and(|l| sys::objects::compare_files(l.fd, l.fd).is_ok());
    let mut groups: Vec<Group> = Vec::new();
    // Places in `groups`, in the kernel's order of the files.
    let mut ordered: Vec<usize> = Vec::new();
    for look in looks {
        let place = if kernel_tells {
            ordered.binary_search_by(|&at| {
                let other = groups[at].first().fd;
                sys::objects::compare_files(other, look.fd).unwrap_or(Ordering::Less)
            })
        } else {
            let same = |at: &usize| behaves_as_one(groups[*at].first(), &look, stopped);
            (0..groups.len()).find(same).ok_or(ordered.len())
        };
        match place {
            Ok(place) => groups[ordered[place]].looks.push(look),
            Err(place) => {
                ordered.insert(place, groups.len());
                groups.push(Group { looks: vec![look] });
            }
        }
    }
    groups
}

/// Where the kernel does not tell (a container without kcmp): equal in all that can
/// be seen, and a status flag set through one is seen through the other.
fn behaves_as_one(a: &Look, b: &Look, stopped: bool) -> bool {
    let key = |l: &Look| (l.device, l.inode, l.rdev, l.flags, l.position());
    let info = |l: &Look| l.info.clone();
    if key(a) != key(b) || info(a) != info(b) {
        return false;
    }
    if !stopped || a.flags & libc::O_PATH != 0 {
        return true;
    }
    let (Ok(first), Ok(second)) = (hold(a.fd), hold(b.fd)) else {
        return true;
    };
    let (first, second) = (first.as_raw_fd(), second.as_raw_fd());
    let toggled = a.flags ^ libc::O_NONBLOCK;
    if sys::descriptor::fcntl(first, libc::F_SETFL, toggled).is_err() {
        return true;
    }
    let seen = sys::descriptor::fcntl(second, libc::F_GETFL, 0);
    let _ = sys::descriptor::fcntl(first, libc::F_SETFL, a.flags);
    seen.is_ok_and(|flags| flags & libc::O_NONBLOCK == toggled & libc::O_NONBLOCK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_kcmp_the_same_groups_are_found() {
        let file = tempfile::tempfile().unwrap();
        let dup = file.try_clone().unwrap();
        let reopened = std::fs::File::open(format!("/proc/self/fd/{}", file.as_raw_fd())).unwrap();
        let look = |f: &std::fs::File| Look::at(f.as_raw_fd()).unwrap().unwrap();
        assert!(behaves_as_one(&look(&file), &look(&dup), true));
        assert!(!behaves_as_one(&look(&file), &look(&reopened), true));
        let twin = std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open(format!("/proc/self/fd/{}", file.as_raw_fd()))
            .unwrap();
        assert!(!behaves_as_one(&look(&file), &look(&twin), true));
        let flags = sys::descriptor::fcntl(file.as_raw_fd(), libc::F_GETFL, 0).unwrap();
        assert_eq!(flags & libc::O_NONBLOCK, 0);
    }
}

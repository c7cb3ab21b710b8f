//! Event counters (eventfd(2)).

use super::look::Look;
use crate::apart::hold;
use crate::{Refusal, sys};
use serde::{Deserialize, Serialize};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

/// An eventfd.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Eventfd {
    /// The counter.
    pub count: u64,
    /// `EFD_SEMAPHORE`.
    pub semaphore: bool,
}

pub(super) fn take(look: &Look, stopped: bool) -> Result<Eventfd, Refusal> {
    let count = look
        .value("eventfd-count")
        .and_then(|v| u64::from_str_radix(v, 16).ok());
    let Some(count) = count else {
        return Err(look.refuse("the kernel does not show its count", "use a newer kernel"));
    };
    let semaphore = match look.value("eventfd-semaphore") {
        Some(flag) => flag == "1",
        // Before linux 6.5.
        None if stopped => find_semaphore(look, count)
            .map_err(|e| look.refuse(format!("its kind cannot be found out: {e}"), "close it"))?,
        None => false,
    };
    Ok(Eventfd { count, semaphore })
}

/// A read takes 1 from a semaphore and all from a counter; what it took is put back.
fn find_semaphore(look: &Look, count: u64) -> io::Result<bool> {
    let file = hold(look.fd)?;
    let fd = file.as_raw_fd();
    let add = |n: u64| sys::descriptor::write(fd, &n.to_ne_bytes()).map(drop);
    let raise = 2_u64.saturating_sub(count);
    if raise > 0 {
        add(raise)?;
    }
    let mut bytes = [0; 8];
    sys::descriptor::read(fd, &mut bytes)?;
    let taken = u64::from_ne_bytes(bytes);
    let semaphore = taken == 1;
    let mut left = count + raise - taken;
    // Down to the count again, or up.
    while left > count {
        sys::descriptor::read(fd, &mut bytes)?;
        left -= u64::from_ne_bytes(bytes);
    }
    if left < count {
        add(count - left)?;
    }
    Ok(semaphore)
}

impl Eventfd {
    pub(super) fn make(&self, flags: i32) -> io::Result<OwnedFd> {
        let kind = if self.semaphore {
            libc::EFD_SEMAPHORE
        } else {
            0
        };
        let nonblock = flags & libc::O_NONBLOCK;
        let fd = sys::objects::eventfd(0, kind | nonblock | libc::EFD_CLOEXEC)?;
        if self.count > 0 {
            sys::descriptor::write(fd.as_raw_fd(), &self.count.to_ne_bytes())?;
        }
        Ok(fd)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kind_is_found_without_loss_on_an_older_kernel() {
        for semaphore in [false, true] {
            for count in [0, 1, 2, 7] {
                let made = Eventfd { count, semaphore }.make(libc::O_NONBLOCK).unwrap();
                let look = Look::at(made.as_raw_fd()).unwrap().unwrap();
                assert_eq!(find_semaphore(&look, count).unwrap(), semaphore);
                let again = Look::at(made.as_raw_fd()).unwrap().unwrap();
                assert_eq!(take(&again, true).unwrap().count, count);
            }
        }
    }
}

//! Variables of modules: device state that has a name instead of an allocation.
//!
//! Their contents are saved. Their addresses are the driver's choice, and kernels may have stored
//! them, so a restart demands the same ones.

use std::collections::{BTreeMap, HashMap};

use cuda_abi::driver::{CUDA_ERROR_NOT_FOUND, CUDA_SUCCESS};
use serde::{Deserialize, Serialize};

use crate::dispatch::context::with_current;
use crate::dispatch::text;
use crate::driver::{self, out};
use crate::handles::{Kind, Virtual};
use crate::image;
use crate::outline;
use crate::record::{Op, decode};
use crate::session::Session;
use crate::table::ids;

/// A variable of a module in a context.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Variable {
    /// Module or library.
    pub(crate) owner: Virtual,
    /// Context that it lives in.
    pub(crate) context: Virtual,
    /// Its name.
    pub(crate) name: String,
    /// Its device address.
    pub(crate) address: u64,
    /// Its bytes.
    pub(crate) len: u64,
}

/// What one image defines.
#[derive(Default)]
struct Names {
    /// By name: must be found. A literal that the driver does not find is no loss; a variable that
    /// starts as zero, or that the application asked for, would be.
    names: BTreeMap<String, bool>,
    managed: Option<String>,
}

/// Where modules and libraries have their variables, by owner.
fn owners(session: &Session) -> Vec<(Virtual, Vec<Virtual>, Names)> {
    let recorder = session.recorder();
    let mut contexts: HashMap<Virtual, Vec<Virtual>> = HashMap::new();
    for (library, context) in recorder.materialized() {
        contexts.entry(library).or_default().push(context);
    }
    let mut found = Vec::new();
    // Ended ones may still be in the log, for the sake of others.
    let live = recorder
        .log()
        .records()
        .filter(|record| record.creates().all(|created| created.alive));
    for record in live {
        let (owner, lives_in) = match decode(record.payload()) {
            Ok(Op::Module {
                handle, context, ..
            }) => (handle, context.into_iter().collect()),
            Ok(Op::Library { handle, .. }) => {
                (handle, contexts.remove(&handle).unwrap_or_default())
            }
            _ => continue,
        };
        let mut names = record.blobs().next().map(names_in).unwrap_or_default();
        for asked in recorder.asked().get(&owner).into_iter().flatten() {
            names.names.insert(asked.clone(), true);
        }
        found.push((owner, lives_in, names));
    }
    found
}

/// Variables that an image defines.
fn names_in(bytes: &[u8]) -> Names {
    let contents = image::contents(bytes);
    let mut found = Names::default();
    for text in &contents.ptx {
        for variable in outline::variables(&String::from_utf8_lossy(text)) {
            if variable.managed {
                found.managed.get_or_insert_with(|| variable.name.clone());
            }
            found.names.insert(variable.name, !variable.initialised);
        }
    }
    if contents.ptx.is_empty() {
        for elf in &contents.elf {
            found.names.extend(
                image::elf_variables(elf)
                    .into_iter()
                    .map(|name| (name, false)),
            );
        }
    }
    found
}

/// Address and size of a variable; needs the owner's context current.
fn query(session: &Session, owner: Virtual, name: &str) -> Result<(u64, u64), u32> {
    let call = if owner.kind() == Some(Kind::Library) {
        ids::cuLibraryGetGlobal
    } else {
        ids::cuModuleGetGlobal_v2
    };
    let real = session.handles.real(owner).ok_or(CUDA_ERROR_NOT_FOUND.0)?;
    let mut text = name.as_bytes().to_vec();
    text.push(0);
    let (mut address, mut len) = (0u64, 0u64);
    let status = driver::call(
        call,
        &[
            out(&mut address),
            out(&mut len),
            real.bits(),
            text.as_ptr() as u64,
        ],
    );
    if status == CUDA_SUCCESS.0 {
        Ok((address, len))
    } else {
        Err(status)
    }
}

/// Every variable of every module; or what cannot be read, by name.
pub(crate) fn list(session: &Session) -> Result<Vec<Variable>, Vec<String>> {
    let (mut variables, mut lost) = (Vec::new(), Vec::new());
    for (owner, contexts, Names { names, managed }) in owners(session) {
        lost.extend(managed.map(|name| format!("variable {name}: managed memory")));
        for context in contexts {
            let read = || {
                for (name, must) in &names {
                    match query(session, owner, name) {
                        Ok((address, len)) if len > 0 => {
                            variables.push(Variable {
                                owner,
                                context,
                                name: name.clone(),
                                address,
                                len,
                            });
                        }
                        Ok(_) => {}
                        Err(status) if *must => {
                            lost.push(format!("variable {name}: {}", text(status)))
                        }
                        Err(_) => {}
                    }
                }
            };
            if let Err(status) = with_current(session, context, read) {
                lost.push(format!("variables of a module: {}", text(status)));
            }
        }
    }
    if lost.is_empty() {
        Ok(variables)
    } else {
        Err(lost)
    }
}

/// Are the variables of an earlier life where they were?
pub(crate) fn verify(session: &Session, variables: &[Variable]) -> Result<(), String> {
    for variable in variables {
        let Variable {
            owner,
            context,
            name,
            address,
            len,
        } = variable;
        let now = with_current(session, *context, || query(session, *owner, name))
            .and_then(|found| found);
        match now {
            Ok(found) if found == (*address, *len) => {}
            Ok((other, other_len)) => {
                return Err(format!(
                    "device variable {name} was at {address:#x} (+{len:#x}) and now is at {other:#x} (+{other_len:#x})"
                ));
            }
            Err(status) => return Err(format!("device variable {name}: {}", text(status))),
        }
    }
    Ok(())
}

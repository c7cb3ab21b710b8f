//! The address table, and everything that enters it or leaves it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, RwLock};

use cuda_abi::driver::result::*;
use cuda_abi::driver::*;

use super::addresses::{Addresses, BLOCK};
use super::mapping::Access;
use super::{Backing, Charge, Extent, GRANULARITY, Kind, Mapping, Physical};
use crate::call::Answer;
use crate::config::{Config, MAX_DEVICES};
use crate::driver::Driver;
use crate::handles::Handle;
use crate::random::Random;
use crate::sync::{read, write};

/// The address space that all devices share.
#[derive(Debug)]
pub(crate) struct Space {
    table: RwLock<Table>,
    /// Device allocations made so far, for the switch `oom-after`.
    allocations: AtomicU64,
    ids: AtomicU64,
}

#[derive(Debug)]
struct Table {
    mappings: BTreeMap<u64, Arc<Mapping>>,
    /// Reservations: start and size.
    reserved: BTreeMap<u64, u64>,
    blocks: Addresses,
    variables: Addresses,
    code: Addresses,
    random: Random,
}

impl Table {
    fn find(&self, address: u64) -> Option<&Arc<Mapping>> {
        let (_, mapping) = self.mappings.range(..=address).next_back()?;
        (address < mapping.end()).then_some(mapping)
    }

    /// Whether any mapping touches the range.
    fn is_occupied(&self, start: u64, size: u64) -> bool {
        let below = self.mappings.range(..start + size).next_back();
        below.is_some_and(|(_, m)| m.end() > start)
    }

    fn is_reserved(&self, start: u64, size: u64) -> bool {
        let below = self.reserved.range(..start + size).next_back();
        below.is_some_and(|(at, len)| at + len > start)
    }

    /// The addresses of a module's variables may be given out again.
    fn give_variables(&mut self, gone: &Mapping) {
        if matches!(gone.kind, Kind::Variables | Kind::Constants) {
            self.variables.give(gone.start, gone.size);
        }
    }

    /// The mappings that exactly fill a range.
    fn exactly(&self, start: u64, size: u64) -> Option<Vec<Arc<Mapping>>> {
        let mut at = start;
        let mut found = Vec::new();
        while at < start + size {
            let mapping = self.mappings.get(&at)?;
            at = mapping.end();
            found.push(mapping.clone());
        }
        (at == start + size && size > 0).then_some(found)
    }
}

impl Space {
    pub(crate) fn new(config: &Config, random: &Random) -> Space {
        Space {
            table: RwLock::new(Table {
                mappings: BTreeMap::new(),
                reserved: BTreeMap::new(),
                blocks: Addresses::for_blocks(random),
                variables: Addresses::for_variables(config, random),
                code: Addresses::for_code(config, random),
                random: Random::new(random.next()),
            }),
            allocations: AtomicU64::new(0),
            ids: AtomicU64::new(1),
        }
    }

    fn next_id(&self) -> u64 {
        self.ids.fetch_add(1, Ordering::Relaxed)
    }

    /// The entry that holds an address.
    pub(crate) fn find(&self, address: u64) -> Option<Arc<Mapping>> {
        read(&self.table).find(address).cloned()
    }

    /// The entry that a kernel reaches at an address.
    pub(crate) fn reachable(&self, address: u64) -> Option<Arc<Mapping>> {
        let table = read(&self.table);
        let (_, mapping) = table.mappings.range(..=address).next_back()?;
        (address < mapping.reach()).then(|| mapping.clone())
    }

    /// The bytes behind a range of device addresses.
    ///
    /// # Errors
    /// `CUDA_ERROR_INVALID_VALUE` when a part is not mapped, or closed to
    /// `device`.
    pub(crate) fn extent(
        &self,
        device: usize,
        start: u64,
        size: usize,
        write: bool,
    ) -> Answer<Extent> {
        let table = read(&self.table);
        let end = start
            .checked_add(size as u64)
            .ok_or(CUDA_ERROR_INVALID_VALUE)?;
        let mut extent = Extent::default();
        let mut at = start;
        while at < end {
            let mapping = table.find(at).ok_or(CUDA_ERROR_INVALID_VALUE)?;
            if let Kind::Virtual { .. } = mapping.kind {
                let need = if write { Access::Write } else { Access::Read };
                if mapping
                    .access(device, |_| true)
                    .max(mapping.access(mapping.device, |_| true))
                    < need
                {
                    return Err(CUDA_ERROR_INVALID_VALUE);
                }
            }
            let part = end.min(mapping.end()) - at;
            extent.add(&mapping.backing, at - mapping.start, part);
            at += part;
        }
        Ok(extent)
    }

    /// Memory of a device, charged to it.
    fn device_memory(&self, driver: &Driver, device: usize, size: u64) -> Answer<Arc<Backing>> {
        if let Some(limit) = driver.config.oom_after {
            let count = self.allocations.fetch_add(1, Ordering::Relaxed);
            if count >= limit {
                return Err(CUDA_ERROR_OUT_OF_MEMORY);
            }
        }
        let device = &driver.devices[device];
        let charge = Charge::new(&device.used, size, device.memory);
        let charge = charge.ok_or(CUDA_ERROR_OUT_OF_MEMORY)?;
        let backing = Backing::zeroed(size, Some(charge)).ok_or(CUDA_ERROR_OUT_OF_MEMORY)?;
        Ok(Arc::new(backing))
    }

    /// `cuMemAlloc`.
    pub(crate) fn allocate(
        &self,
        driver: &Driver,
        device: usize,
        owner: u64,
        size: u64,
    ) -> Answer<u64> {
        if size == 0 {
            return Err(CUDA_ERROR_INVALID_VALUE);
        }
        let rounded = size
            .checked_next_multiple_of(BLOCK)
            .ok_or(CUDA_ERROR_OUT_OF_MEMORY)?;
        let backing = self.device_memory(driver, device, rounded)?;
        let mut table = write(&self.table);
        let align = if size >= GRANULARITY { GRANULARITY } else { 0 };
        let Table { blocks, random, .. } = &mut *table;
        blocks.skip(random);
        let start = blocks.take(size, align).ok_or(CUDA_ERROR_OUT_OF_MEMORY)?;
        table.mappings.insert(
            start,
            Arc::new(Mapping {
                start,
                size,
                backing,
                kind: Kind::Block,
                device,
                owner,
                id: self.next_id(),
            }),
        );
        Ok(start)
    }

    /// The entry that starts at an address, if it satisfies a condition.
    pub(crate) fn starting_at(
        &self,
        start: u64,
        which: impl Fn(&Mapping) -> bool,
    ) -> Option<Arc<Mapping>> {
        let table = read(&self.table);
        table.mappings.get(&start).filter(|m| which(m)).cloned()
    }

    /// Takes an entry out of the table.
    pub(crate) fn remove(
        &self,
        start: u64,
        which: impl Fn(&Mapping) -> bool,
    ) -> Option<Arc<Mapping>> {
        let mut table = write(&self.table);
        table.mappings.get(&start).filter(|m| which(m))?;
        let gone = table.mappings.remove(&start)?;
        table.give_variables(&gone);
        Some(gone)
    }

    /// Takes out everything that a context owned.
    pub(crate) fn free_owned(&self, owner: u64) {
        let gone: Vec<_> = {
            let mut table = write(&self.table);
            let gone: Vec<_> = table
                .mappings
                .extract_if(.., |_, m| m.owner == owner)
                .collect();
            gone.iter().for_each(|(_, m)| table.give_variables(m));
            gone
        };
        drop(gone);
    }

    /// Memory for a module's variables: (writable, constant) starts.
    pub(crate) fn add_variables(
        &self,
        driver: &Driver,
        device: usize,
        owner: u64,
        size: u64,
        kind: Kind,
    ) -> Answer<Arc<Mapping>> {
        let used = &driver.devices[device];
        let charge = Charge::new(&used.used, size, used.memory).ok_or(CUDA_ERROR_OUT_OF_MEMORY)?;
        let backing = Backing::zeroed(size, Some(charge)).ok_or(CUDA_ERROR_OUT_OF_MEMORY)?;
        let mut table = write(&self.table);
        let start = table
            .variables
            .take(size, 4096)
            .ok_or(CUDA_ERROR_OUT_OF_MEMORY)?;
        let mapping = Arc::new(Mapping {
            start,
            size,
            backing: Arc::new(backing),
            kind,
            device,
            owner,
            id: self.next_id(),
        });
        table.mappings.insert(start, mapping.clone());
        Ok(mapping)
    }

    /// Addresses for a module's code.
    pub(crate) fn code_address(&self, size: u64) -> Answer<u64> {
        let mut table = write(&self.table);
        let at = table.code.take(size, 4096);
        at.ok_or(CUDA_ERROR_OUT_OF_MEMORY)
    }

    /// The code of a module is gone.
    pub(crate) fn give_code(&self, start: u64, size: u64) {
        write(&self.table).code.give(start, size);
    }

    /// Pinned host memory: new memory, or memory of the program's.
    pub(crate) fn add_host(
        &self,
        backing: Backing,
        size: u64,
        device: usize,
        owner: u64,
        kind: Kind,
    ) -> Answer<u64> {
        let start = backing.start() as u64;
        let mut table = write(&self.table);
        if table.is_occupied(start, size) {
            return Err(CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED);
        }
        table.mappings.insert(
            start,
            Arc::new(Mapping {
                start,
                size,
                backing: Arc::new(backing),
                kind,
                device,
                owner,
                id: self.next_id(),
            }),
        );
        Ok(start)
    }

    /// `cuMemAddressReserve`: the wished address if it is free.
    pub(crate) fn reserve(&self, wish: u64, size: u64, align: u64, refuse: bool) -> Answer<u64> {
        let align = align.max(GRANULARITY);
        let mut table = write(&self.table);
        let free = wish != 0
            && !refuse
            && wish.is_multiple_of(align)
            && wish.checked_add(size).is_some_and(|end| end <= 1 << 47)
            && !table.is_reserved(wish, size)
            && !table.is_occupied(wish, size);
        let start = if free {
            wish
        } else {
            let at = table.blocks.take(size, align);
            at.ok_or(CUDA_ERROR_OUT_OF_MEMORY)?
        };
        table.reserved.insert(start, size);
        Ok(start)
    }

    /// `cuMemAddressFree`: the whole reservation, with nothing mapped in it.
    pub(crate) fn unreserve(&self, start: u64, size: u64) -> Answer {
        let mut table = write(&self.table);
        if table.reserved.get(&start) != Some(&size) || table.is_occupied(start, size) {
            return Err(CUDA_ERROR_INVALID_VALUE);
        }
        table.reserved.remove(&start);
        Ok(())
    }

    /// The reservation that holds an address: start and size.
    pub(crate) fn reservation(&self, address: u64) -> Option<(u64, u64)> {
        let table = read(&self.table);
        let (start, size) = table.reserved.range(..=address).next_back()?;
        (address < start + size).then_some((*start, *size))
    }

    /// `cuMemCreate`.
    pub(crate) fn create_physical(
        &self,
        driver: &Driver,
        device: usize,
        size: u64,
        properties: CUmemAllocationProp,
    ) -> Answer<Handle> {
        let backing = self.device_memory(driver, device, size)?;
        let physical = driver.handles.insert(|handle| Physical {
            handle,
            size,
            properties: super::physical::Properties(properties),
            device,
            backing,
            references: AtomicU32::new(1),
        })?;
        Ok(physical.handle)
    }

    /// `cuMemMap`.
    pub(crate) fn map(&self, start: u64, size: u64, physical: Arc<Physical>) -> Answer {
        if size == 0
            || !size.is_multiple_of(GRANULARITY)
            || !start.is_multiple_of(GRANULARITY)
            || size > physical.size
        {
            return Err(CUDA_ERROR_INVALID_VALUE);
        }
        let mut table = write(&self.table);
        let inside = table
            .reserved
            .range(..=start)
            .next_back()
            .is_some_and(|(at, len)| start + size <= at + len);
        if !inside || table.is_occupied(start, size) {
            return Err(CUDA_ERROR_INVALID_VALUE);
        }
        table.mappings.insert(
            start,
            Arc::new(Mapping {
                start,
                size,
                backing: physical.backing.clone(),
                device: physical.device,
                kind: Kind::Virtual {
                    physical,
                    access: [0; MAX_DEVICES],
                },
                owner: 0,
                id: self.next_id(),
            }),
        );
        Ok(())
    }

    /// The whole mappings of `cuMemMap` that fill a range.
    pub(crate) fn virtual_mappings(&self, start: u64, size: u64) -> Answer<Vec<Arc<Mapping>>> {
        let table = read(&self.table);
        let end = start.checked_add(size).ok_or(CUDA_ERROR_INVALID_VALUE)?;
        let found = table.exactly(start, end - start);
        let found = found.ok_or(CUDA_ERROR_INVALID_VALUE)?;
        let all = found.iter().all(|m| matches!(m.kind, Kind::Virtual { .. }));
        all.then_some(found).ok_or(CUDA_ERROR_INVALID_VALUE)
    }

    /// `cuMemUnmap`.
    pub(crate) fn unmap(&self, start: u64, size: u64) -> Answer {
        let gone = self.virtual_mappings(start, size)?;
        let mut table = write(&self.table);
        for mapping in &gone {
            table.mappings.remove(&mapping.start);
        }
        Ok(())
    }

    /// `cuMemSetAccess`, for one device.
    pub(crate) fn set_access(&self, start: u64, size: u64, device: usize, flags: u8) -> Answer {
        let mappings = self.virtual_mappings(start, size)?;
        let mut table = write(&self.table);
        for old in mappings {
            let Kind::Virtual { physical, access } = &old.kind else {
                continue;
            };
            let mut access = *access;
            access[device] = flags;
            let new = Mapping {
                start: old.start,
                size: old.size,
                backing: old.backing.clone(),
                kind: Kind::Virtual {
                    physical: physical.clone(),
                    access,
                },
                device: old.device,
                owner: old.owner,
                id: old.id,
            };
            table.mappings.insert(old.start, Arc::new(new));
        }
        Ok(())
    }
}

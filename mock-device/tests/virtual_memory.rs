//! Virtual memory management, as gpuckpt's arena uses it.

mod common;
use common::*;

const MIB: u64 = 1 << 20;
/// A place that nothing else uses.
const WISH: u64 = 0x1000_0000_0000;

fn properties() -> CUmemAllocationProp {
    CUmemAllocationProp {
        type_: CU_MEM_ALLOCATION_TYPE_PINNED,
        requestedHandleTypes: 0,
        location: location(0),
        win32HandleMetaData: std::ptr::null_mut(),
        allocFlags: CUmemAllocationPropFlags {
            compressionType: 0,
            gpuDirectRDMACapable: 0,
            usage: 0,
            reserved: [0; 4],
        },
    }
}

fn location(id: i32) -> CUmemLocation {
    CUmemLocation {
        type_: CU_MEM_LOCATION_TYPE_DEVICE,
        id,
    }
}

fn reserve(size: u64, wish: u64) -> u64 {
    out(|p| cuMemAddressReserve(p, size as usize, 0, wish, 0))
}

fn create(size: u64) -> Handle {
    let properties = properties();
    out(|h| cuMemCreate(h, size as usize, &raw const properties, 0))
}

fn open(at: u64, size: u64, flags: CUmemAccess_flags) -> CUresult {
    let access = CUmemAccessDesc {
        location: location(0),
        flags,
    };
    cuMemSetAccess(at, size as usize, &raw const access, 1)
}

#[test]
fn a_wished_address_is_honoured() {
    let context = new_context();
    let at = reserve(4 * MIB, WISH);
    assert_eq!(at, WISH);
    // Taken: somewhere else, as documented.
    let other = reserve(4 * MIB, WISH);
    assert_ne!(other, WISH);
    ok!(cuMemAddressFree(other, 4 << 20));
    fails!(cuMemAddressFree(at, 2 << 20), CUDA_ERROR_INVALID_VALUE);
    ok!(cuMemAddressFree(at, 4 << 20));
    fails!(cuMemAddressFree(at, 4 << 20), CUDA_ERROR_INVALID_VALUE);
    assert_eq!(reserve(1 << 36, WISH), WISH);
    ok!(cuMemAddressFree(WISH, 1 << 36));
    fails!(
        cuMemAddressReserve(&mut 0, 4096, 0, 0, 0),
        CUDA_ERROR_INVALID_VALUE
    );
    fails!(
        cuMemAddressReserve(&mut 0, 0, 0, 0, 0),
        CUDA_ERROR_INVALID_VALUE
    );
    fails!(
        cuMemAddressReserve(&mut 0, 2 << 20, 3, 0, 0),
        CUDA_ERROR_INVALID_VALUE
    );
    ok!(cuCtxDestroy_v2(context));
}

#[test]
fn memory_is_mapped_and_opened() {
    let context = new_context();
    let properties = properties();
    let granularity = out(|g| cuMemGetAllocationGranularity(g, &raw const properties, 0));
    assert_eq!(granularity as u64, 2 * MIB);
    let at = reserve(8 * MIB, WISH + (1 << 30));
    let (first, second) = (create(2 * MIB), create(4 * MIB));
    fails!(cuMemMap(at, 4096, 0, first, 0), CUDA_ERROR_INVALID_VALUE);
    fails!(cuMemMap(at, 4 << 20, 0, first, 0), CUDA_ERROR_INVALID_VALUE);
    fails!(
        cuMemMap(at + 8 * MIB, 2 << 20, 0, first, 0),
        CUDA_ERROR_INVALID_VALUE
    );
    fails!(cuMemMap(at, 2 << 20, 0, 0x99, 0), CUDA_ERROR_INVALID_VALUE);
    ok!(cuMemMap(at, 2 << 20, 0, first, 0));
    fails!(cuMemMap(at, 2 << 20, 0, first, 0), CUDA_ERROR_INVALID_VALUE);
    ok!(cuMemMap(at + 2 * MIB, 4 << 20, 0, second, 0));
    // Mapped, and closed yet.
    fails!(cuMemsetD8_v2(at, 1, 1), CUDA_ERROR_INVALID_VALUE);
    fails!(
        open(at, MIB, CU_MEM_ACCESS_FLAGS_PROT_READWRITE),
        CUDA_ERROR_INVALID_VALUE
    );
    fails!(
        open(at, 8 * MIB, CU_MEM_ACCESS_FLAGS_PROT_READWRITE),
        CUDA_ERROR_INVALID_VALUE
    );
    ok!(open(at, 6 * MIB, CU_MEM_ACCESS_FLAGS_PROT_READWRITE));
    let here = location(0);
    assert_eq!(out(|f| cuMemGetAccess(f, &raw const here, at + MIB)), 3);

    // One copy over both pieces.
    let bytes: Vec<u8> = (0..6 * MIB as usize).map(|i| (i / 4096) as u8).collect();
    upload(at, &bytes);
    assert!(download(at, bytes.len()) == bytes);
    assert_eq!(
        download(at + 2 * MIB - 4, 8),
        bytes[(2 * MIB - 4) as usize..][..8]
    );
    fails!(
        cuMemsetD8_v2(at + 6 * MIB - 1, 0, 2),
        CUDA_ERROR_INVALID_VALUE
    );

    // Read only.
    ok!(open(at, 2 * MIB, CU_MEM_ACCESS_FLAGS_PROT_READ));
    fails!(cuMemsetD8_v2(at, 0, 1), CUDA_ERROR_INVALID_VALUE);
    assert_eq!(download(at, 1), bytes[..1]);

    fails!(cuMemAddressFree(at, 8 << 20), CUDA_ERROR_INVALID_VALUE);
    fails!(cuMemUnmap(at, 1 << 20), CUDA_ERROR_INVALID_VALUE);
    fails!(cuMemFree_v2(at), CUDA_ERROR_INVALID_VALUE);
    ok!(cuMemUnmap(at, 6 << 20));
    fails!(cuMemUnmap(at, 6 << 20), CUDA_ERROR_INVALID_VALUE);

    // The contents stay with the memory, not with the address.
    ok!(cuMemMap(at + 4 * MIB, 4 << 20, 0, second, 0));
    ok!(open(
        at + 4 * MIB,
        4 * MIB,
        CU_MEM_ACCESS_FLAGS_PROT_READWRITE
    ));
    assert!(download(at + 4 * MIB, 4 << 20) == bytes[(2 * MIB) as usize..]);
    ok!(cuMemUnmap(at + 4 * MIB, 4 << 20));
    ok!(cuMemRelease(first));
    fails!(cuMemRelease(first), CUDA_ERROR_INVALID_VALUE);
    ok!(cuMemRelease(second));
    ok!(cuMemAddressFree(at, 8 << 20));
    ok!(cuCtxDestroy_v2(context));
}

#[test]
fn handles_are_counted() {
    alone("handles_are_counted", "memory=64M", || {
        let context = new_context();
        let free = || {
            let (mut free, mut total) = (0usize, 0usize);
            ok!(cuMemGetInfo_v2(&raw mut free, &raw mut total));
            free as u64
        };
        let before = free();
        let at = reserve(2 * MIB, 0);
        let handle = create(2 * MIB);
        assert_eq!(free(), before - 2 * MIB);
        ok!(cuMemMap(at, 2 << 20, 0, handle, 0));
        ok!(cuMemRelease(handle));
        // The mapping keeps it, and gives the handle back.
        assert_eq!(free(), before - 2 * MIB);
        fails!(cuMemRelease(handle), CUDA_ERROR_INVALID_VALUE);
        assert_eq!(out(|h| cuMemRetainAllocationHandle(h, at + 5)), handle);
        let told: CUmemAllocationProp = {
            let mut told = properties();
            told.type_ = 0;
            ok!(cuMemGetAllocationPropertiesFromHandle(
                &raw mut told,
                handle
            ));
            told
        };
        assert_eq!(told, properties());
        ok!(cuMemRelease(handle));
        ok!(cuMemUnmap(at, 2 << 20));
        assert_eq!(free(), before);
        fails!(
            cuMemCreate(&mut 0, 128 << 20, &raw const told, 0),
            CUDA_ERROR_OUT_OF_MEMORY
        );
        fails!(
            cuMemCreate(&mut 0, 4096, &raw const told, 0),
            CUDA_ERROR_INVALID_VALUE
        );
        ok!(cuCtxDestroy_v2(context));
    });
}

//! Memory types, pointer attributes, allocation properties, pools and copies.
//!
//! Values as in the CUDA driver API's header and manual; checked against `cudarc` in this crate's tests.
#![allow(
    missing_docs,
    non_camel_case_types,
    reason = "each name is the driver API's own"
)]

enumeration! {
    /// `CUmemorytype` of the driver API.
    CUmemorytype: u32 as CUmemorytype_enum {
        CU_MEMORYTYPE_HOST = 1,
        CU_MEMORYTYPE_DEVICE = 2,
        CU_MEMORYTYPE_ARRAY = 3,
        CU_MEMORYTYPE_UNIFIED = 4,
    }
}

enumeration! {
    /// `CUpointer_attribute` of the driver API.
    CUpointer_attribute: u32 as CUpointer_attribute_enum {
        CU_POINTER_ATTRIBUTE_CONTEXT = 1,
        CU_POINTER_ATTRIBUTE_MEMORY_TYPE = 2,
        CU_POINTER_ATTRIBUTE_DEVICE_POINTER = 3,
        CU_POINTER_ATTRIBUTE_HOST_POINTER = 4,
        CU_POINTER_ATTRIBUTE_P2P_TOKENS = 5,
        CU_POINTER_ATTRIBUTE_SYNC_MEMOPS = 6,
        CU_POINTER_ATTRIBUTE_BUFFER_ID = 7,
        CU_POINTER_ATTRIBUTE_IS_MANAGED = 8,
        CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL = 9,
        CU_POINTER_ATTRIBUTE_IS_LEGACY_CUDA_IPC_CAPABLE = 10,
        CU_POINTER_ATTRIBUTE_RANGE_START_ADDR = 11,
        CU_POINTER_ATTRIBUTE_RANGE_SIZE = 12,
        CU_POINTER_ATTRIBUTE_MAPPED = 13,
        CU_POINTER_ATTRIBUTE_ALLOWED_HANDLE_TYPES = 14,
        CU_POINTER_ATTRIBUTE_IS_GPU_DIRECT_RDMA_CAPABLE = 15,
        CU_POINTER_ATTRIBUTE_ACCESS_FLAGS = 16,
        CU_POINTER_ATTRIBUTE_MEMPOOL_HANDLE = 17,
        CU_POINTER_ATTRIBUTE_MAPPING_SIZE = 18,
        CU_POINTER_ATTRIBUTE_MAPPING_BASE_ADDR = 19,
        CU_POINTER_ATTRIBUTE_MEMORY_BLOCK_ID = 20,
        CU_POINTER_ATTRIBUTE_IS_HW_DECOMPRESS_CAPABLE = 21,
        CU_POINTER_ATTRIBUTE_LOCALITY_DOMAIN_ORDINAL = 22,
    }
}

enumeration! {
    /// `CUDA_POINTER_ATTRIBUTE_ACCESS_FLAGS` of the driver API.
    CUDA_POINTER_ATTRIBUTE_ACCESS_FLAGS: u32 as CUDA_POINTER_ATTRIBUTE_ACCESS_FLAGS_enum {
        CU_POINTER_ATTRIBUTE_ACCESS_FLAG_NONE = 0,
        CU_POINTER_ATTRIBUTE_ACCESS_FLAG_READ = 1,
        CU_POINTER_ATTRIBUTE_ACCESS_FLAG_READWRITE = 3,
    }
}

enumeration! {
    /// `CUmem_advise` of the driver API.
    CUmem_advise: u32 as CUmem_advise_enum {
        CU_MEM_ADVISE_SET_READ_MOSTLY = 1,
        CU_MEM_ADVISE_UNSET_READ_MOSTLY = 2,
        CU_MEM_ADVISE_SET_PREFERRED_LOCATION = 3,
        CU_MEM_ADVISE_UNSET_PREFERRED_LOCATION = 4,
        CU_MEM_ADVISE_SET_ACCESSED_BY = 5,
        CU_MEM_ADVISE_UNSET_ACCESSED_BY = 6,
    }
}

enumeration! {
    /// `CUmem_range_attribute` of the driver API.
    CUmem_range_attribute: u32 as CUmem_range_attribute_enum {
        CU_MEM_RANGE_ATTRIBUTE_READ_MOSTLY = 1,
        CU_MEM_RANGE_ATTRIBUTE_PREFERRED_LOCATION = 2,
        CU_MEM_RANGE_ATTRIBUTE_ACCESSED_BY = 3,
        CU_MEM_RANGE_ATTRIBUTE_LAST_PREFETCH_LOCATION = 4,
        CU_MEM_RANGE_ATTRIBUTE_PREFERRED_LOCATION_TYPE = 5,
        CU_MEM_RANGE_ATTRIBUTE_PREFERRED_LOCATION_ID = 6,
        CU_MEM_RANGE_ATTRIBUTE_LAST_PREFETCH_LOCATION_TYPE = 7,
        CU_MEM_RANGE_ATTRIBUTE_LAST_PREFETCH_LOCATION_ID = 8,
    }
}

enumeration! {
    /// `CUmemAttach_flags` of the driver API.
    CUmemAttach_flags: u32 as CUmemAttach_flags_enum {
        CU_MEM_ATTACH_GLOBAL = 1,
        CU_MEM_ATTACH_HOST = 2,
        CU_MEM_ATTACH_SINGLE = 4,
    }
}

enumeration! {
    /// `CUipcMem_flags` of the driver API.
    CUipcMem_flags: u32 as CUipcMem_flags_enum {
        CU_IPC_MEM_LAZY_ENABLE_PEER_ACCESS = 1,
    }
}

enumeration! {
    /// `CUmemAllocationHandleType` of the driver API.
    CUmemAllocationHandleType: u32 as CUmemAllocationHandleType_enum {
        CU_MEM_HANDLE_TYPE_NONE = 0,
        CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR = 1,
        CU_MEM_HANDLE_TYPE_WIN32 = 2,
        CU_MEM_HANDLE_TYPE_WIN32_KMT = 4,
        CU_MEM_HANDLE_TYPE_FABRIC = 8,
    }
}

enumeration! {
    /// `CUmemAccess_flags` of the driver API.
    CUmemAccess_flags: u32 as CUmemAccess_flags_enum {
        CU_MEM_ACCESS_FLAGS_PROT_NONE = 0,
        CU_MEM_ACCESS_FLAGS_PROT_READ = 1,
        CU_MEM_ACCESS_FLAGS_PROT_READWRITE = 3,
    }
}

enumeration! {
    /// `CUmemLocationType` of the driver API.
    CUmemLocationType: u32 as CUmemLocationType_enum {
        CU_MEM_LOCATION_TYPE_INVALID = 0,
        CU_MEM_LOCATION_TYPE_NONE = 0,
        CU_MEM_LOCATION_TYPE_DEVICE = 1,
        CU_MEM_LOCATION_TYPE_HOST = 2,
        CU_MEM_LOCATION_TYPE_HOST_NUMA = 3,
        CU_MEM_LOCATION_TYPE_HOST_NUMA_CURRENT = 4,
        CU_MEM_LOCATION_TYPE_INVISIBLE = 5,
        CU_MEM_LOCATION_TYPE_DEVICE_LOCALITY_DOMAIN = 6,
    }
}

enumeration! {
    /// `CUmemAllocationType` of the driver API.
    CUmemAllocationType: u32 as CUmemAllocationType_enum {
        CU_MEM_ALLOCATION_TYPE_INVALID = 0,
        CU_MEM_ALLOCATION_TYPE_PINNED = 1,
        CU_MEM_ALLOCATION_TYPE_MANAGED = 2,
    }
}

enumeration! {
    /// `CUmemAllocationGranularity_flags` of the driver API.
    CUmemAllocationGranularity_flags: u32 as CUmemAllocationGranularity_flags_enum {
        CU_MEM_ALLOC_GRANULARITY_MINIMUM = 0,
        CU_MEM_ALLOC_GRANULARITY_RECOMMENDED = 1,
    }
}

enumeration! {
    /// `CUmemRangeHandleType` of the driver API.
    CUmemRangeHandleType: u32 as CUmemRangeHandleType_enum {
        CU_MEM_RANGE_HANDLE_TYPE_DMA_BUF_FD = 1,
    }
}

enumeration! {
    /// `CUmemRangeFlags` of the driver API.
    CUmemRangeFlags: u32 as CUmemRangeFlags_enum {
        CU_MEM_RANGE_FLAG_DMA_BUF_MAPPING_TYPE_PCIE = 1,
    }
}

enumeration! {
    /// `CUmemOperationType` of the driver API.
    CUmemOperationType: u32 as CUmemOperationType_enum {
        CU_MEM_OPERATION_TYPE_MAP = 1,
        CU_MEM_OPERATION_TYPE_UNMAP = 2,
    }
}

enumeration! {
    /// `CUmemHandleType` of the driver API.
    CUmemHandleType: u32 as CUmemHandleType_enum {
        CU_MEM_HANDLE_TYPE_GENERIC = 0,
    }
}

enumeration! {
    /// `CUmemAllocationCompType` of the driver API.
    CUmemAllocationCompType: u32 as CUmemAllocationCompType_enum {
        CU_MEM_ALLOCATION_COMP_NONE = 0,
        CU_MEM_ALLOCATION_COMP_GENERIC = 1,
    }
}

enumeration! {
    /// `CUmulticastGranularity_flags` of the driver API.
    CUmulticastGranularity_flags: u32 as CUmulticastGranularity_flags_enum {
        CU_MULTICAST_GRANULARITY_MINIMUM = 0,
        CU_MULTICAST_GRANULARITY_RECOMMENDED = 1,
    }
}

enumeration! {
    /// `CUmemPool_attribute` of the driver API.
    CUmemPool_attribute: u32 as CUmemPool_attribute_enum {
        CU_MEMPOOL_ATTR_REUSE_FOLLOW_EVENT_DEPENDENCIES = 1,
        CU_MEMPOOL_ATTR_REUSE_ALLOW_OPPORTUNISTIC = 2,
        CU_MEMPOOL_ATTR_REUSE_ALLOW_INTERNAL_DEPENDENCIES = 3,
        CU_MEMPOOL_ATTR_RELEASE_THRESHOLD = 4,
        CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT = 5,
        CU_MEMPOOL_ATTR_RESERVED_MEM_HIGH = 6,
        CU_MEMPOOL_ATTR_USED_MEM_CURRENT = 7,
        CU_MEMPOOL_ATTR_USED_MEM_HIGH = 8,
        CU_MEMPOOL_ATTR_ALLOCATION_TYPE = 9,
        CU_MEMPOOL_ATTR_EXPORT_HANDLE_TYPES = 10,
        CU_MEMPOOL_ATTR_LOCATION_ID = 11,
        CU_MEMPOOL_ATTR_LOCATION_TYPE = 12,
        CU_MEMPOOL_ATTR_MAX_POOL_SIZE = 13,
        CU_MEMPOOL_ATTR_HW_DECOMPRESS_ENABLED = 14,
        CU_MEMPOOL_ATTR_LOCALITY_DOMAIN_ID = 15,
    }
}

enumeration! {
    /// `CUmemcpyFlags` of the driver API.
    CUmemcpyFlags: u32 as CUmemcpyFlags_enum {
        CU_MEMCPY_FLAG_DEFAULT = 0,
        CU_MEMCPY_FLAG_PREFER_OVERLAP_WITH_COMPUTE = 1,
    }
}

enumeration! {
    /// `CUmemcpySrcAccessOrder` of the driver API.
    CUmemcpySrcAccessOrder: u32 as CUmemcpySrcAccessOrder_enum {
        CU_MEMCPY_SRC_ACCESS_ORDER_INVALID = 0,
        CU_MEMCPY_SRC_ACCESS_ORDER_STREAM = 1,
        CU_MEMCPY_SRC_ACCESS_ORDER_DURING_API_CALL = 2,
        CU_MEMCPY_SRC_ACCESS_ORDER_ANY = 3,
    }
}

enumeration! {
    /// `CUmemcpy3DOperandType` of the driver API.
    CUmemcpy3DOperandType: u32 as CUmemcpy3DOperandType_enum {
        CU_MEMCPY_OPERAND_TYPE_POINTER = 1,
        CU_MEMCPY_OPERAND_TYPE_ARRAY = 2,
    }
}

enumeration! {
    /// `CUarraySparseSubresourceType` of the driver API.
    CUarraySparseSubresourceType: u32 as CUarraySparseSubresourceType_enum {
        CU_ARRAY_SPARSE_SUBRESOURCE_TYPE_SPARSE_LEVEL = 0,
        CU_ARRAY_SPARSE_SUBRESOURCE_TYPE_MIPTAIL = 1,
    }
}

//! Large bytes, stored once for equal contents and counted by the records that hold them.

use std::collections::HashMap;
use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64;

/// The store.
#[derive(Clone, Debug, Default)]
pub(crate) struct Blobs {
    by_hash: HashMap<u64, Vec<Blob>>,
    count: usize,
    bytes: u64,
}

#[derive(Clone, Debug)]
struct Blob {
    bytes: Arc<[u8]>,
    holders: usize,
}

impl Blobs {
    /// The stored copy of `bytes`, with one holder more.
    pub(crate) fn hold(&mut self, bytes: &[u8]) -> Arc<[u8]> {
        let bucket = self.by_hash.entry(xxh3_64(bytes)).or_default();
        if let Some(blob) = bucket.iter_mut().find(|blob| *blob.bytes == *bytes) {
            blob.holders += 1;
            return Arc::clone(&blob.bytes);
        }
        let stored: Arc<[u8]> = Arc::from(bytes);
        bucket.push(Blob {
            bytes: Arc::clone(&stored),
            holders: 1,
        });
        self.count += 1;
        self.bytes += bytes.len() as u64;
        stored
    }

    /// One holder less; the last one takes the blob along.
    pub(crate) fn release(&mut self, bytes: &Arc<[u8]>) {
        let hash = xxh3_64(bytes);
        let Some(bucket) = self.by_hash.get_mut(&hash) else {
            return;
        };
        let Some(at) = bucket
            .iter()
            .position(|blob| Arc::ptr_eq(&blob.bytes, bytes))
        else {
            return;
        };
        let Some(blob) = bucket.get_mut(at) else {
            return;
        };
        blob.holders -= 1;
        if blob.holders == 0 {
            bucket.swap_remove(at);
            self.count -= 1;
            self.bytes -= bytes.len() as u64;
        }
        if bucket.is_empty() {
            self.by_hash.remove(&hash);
        }
    }

    /// How many different blobs there are.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// Their bytes, each counted once.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }
}

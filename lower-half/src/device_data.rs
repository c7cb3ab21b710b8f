//! Device memory on its way into an image and back: a table of regions and, after
//! it, their bytes, in chunks.

use crate::checkpoint::{Progress, sections};
use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use transparent_core::image::{ImageReader, ImageWriter, SectionKind};

const TABLE: (&str, u32) = ("device-memory", 1);
const DATA: (&str, u32) = ("device-data", 1);
/// Bytes copied at a time.
const CHUNK: usize = 4 << 20;
/// No log of a real program comes near this.
const LOG_LIMIT: u64 = 8 << 30;

/// One region as the image has it; its bytes lie in the data section in table order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Region {
    id: u32,
    label: String,
    address: u64,
    len: u64,
}

/// Saves the interposer's log and the contents of all device regions. Returns the
/// bytes of device memory.
pub(crate) fn save(writer: &ImageWriter, progress: Progress<'_>) -> Result<u64> {
    let log = interposer::snapshot_log().context("cannot save the log of device calls")?;
    writer.put_bytes(
        sections::DEVICE_LOG.0,
        SectionKind::DEVICE_LOG,
        sections::DEVICE_LOG.1,
        &log,
    )?;
    let regions: Vec<Region> = interposer::device_regions()
        .into_iter()
        .map(|region| Region {
            id: region.id,
            label: region.label,
            address: region.address,
            len: region.len,
        })
        .collect();
    let total: u64 = regions.iter().map(|region| region.len).sum();
    writer.put_bincode(TABLE.0, SectionKind::DEVICE_MEMORY, TABLE.1, &regions)?;
    let mut data = writer.section(
        DATA.0,
        SectionKind::DEVICE_DATA,
        DATA.1,
        writer.compression(),
    )?;
    let mut buffer = vec![0; CHUNK];
    let mut done = 0;
    for region in &regions {
        each_chunk(region.len, |offset, len| {
            let chunk = &mut buffer[..len];
            interposer::read_region(region.id, offset, chunk)
                .with_context(|| format!("cannot copy {} from the device", region.label))?;
            data.put(chunk)?;
            done += len as u64;
            progress("device", done, total);
            Ok(())
        })?;
    }
    data.finish()?;
    Ok(total)
}

/// Replays the log into a fresh driver. The window is still empty.
pub(crate) fn restore_log(image: &ImageReader) -> Result<()> {
    let log = image.get_bytes(
        sections::DEVICE_LOG.0,
        SectionKind::DEVICE_LOG,
        sections::DEVICE_LOG.1,
        LOG_LIMIT,
    )?;
    interposer::restore_log(&log).context("cannot build the device state again")
}

/// Puts the contents of all regions back. Host memory is there already.
pub(crate) fn restore_contents(image: &ImageReader) -> Result<()> {
    let regions: Vec<Region> = image.get_bincode(TABLE.0, SectionKind::DEVICE_MEMORY, TABLE.1)?;
    let mut data = image.section_of(DATA.0, SectionKind::DEVICE_DATA, DATA.1)?;
    let total = regions
        .iter()
        .try_fold(0_u64, |sum, region| sum.checked_add(region.len));
    ensure!(
        total == Some(data.raw_len()),
        "section device-memory does not fit section device-data: the image was not made by gpuckpt"
    );
    let mut buffer = vec![0; CHUNK];
    for region in &regions {
        each_chunk(region.len, |offset, len| {
            let chunk = &mut buffer[..len];
            data.get(chunk)?;
            interposer::write_region(region.id, offset, chunk)
                .with_context(|| format!("cannot copy {} to the device", region.label))?;
            Ok(())
        })?;
    }
    data.verify_rest()?;
    Ok(())
}

fn each_chunk(len: u64, mut body: impl FnMut(u64, usize) -> Result<()>) -> Result<()> {
    let mut offset = 0;
    while offset < len {
        let step = (len - offset).min(CHUNK as u64);
        body(offset, step as usize)?;
        offset += step;
    }
    Ok(())
}

//! stub
use crate::failure::{Code, Failure, Result};
use clap::Parser;
/// Arguments.
#[derive(Parser, Debug)]
pub(crate) struct Args {}
pub(crate) fn run(_args: &Args) -> Result<i32> { Err(Failure::new(Code::NoImage, "x", "y")) }

//! Compiles the `.proto` files with protox: no `protoc` needs to be installed.

use std::{env, error::Error, fs, io, path::PathBuf};

/// What others may call or read.
const PUBLIC: [&str; 3] = ["proto/godwit/v1", "proto/godwit/events/v1", "proto/godwit/store/v1"];
/// What nodes say to each other.
const CLUSTER: &str = "proto/godwit/cluster/v1";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let mut files = Vec::new();
    for package in PUBLIC {
        files.extend(protos(package)?);
    }
    files.sort();
    let public = protox::compile(&files, ["proto"])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("descriptors.bin"), protox::prost::Message::encode_to_vec(&public))?;
    files.extend(protos(CLUSTER)?);
    tonic_prost_build::configure().compile_fds(protox::compile(&files, ["proto"])?)?;
    Ok(())
}

fn protos(package: &str) -> io::Result<Vec<PathBuf>> {
    let paths = fs::read_dir(package)?.map(|entry| entry.map(|entry| entry.path()));
    let paths = paths.collect::<io::Result<Vec<_>>>()?;
    Ok(paths.into_iter().filter(|path| path.extension().is_some_and(|it| it == "proto")).collect())
}

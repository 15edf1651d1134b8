//! Compiles the shim and links the system's RocksDB (Debian: `librocksdb-dev`).

fn main() {
    println!("cargo:rerun-if-changed=src/engine/shim.cc");
    cc::Build::new()
        .cpp(true)
        .std("c++17")
        .opt_level(1)
        .file("src/engine/shim.cc")
        .compile("shim");
    for library in ["rocksdb", "lz4", "zstd"] {
        println!("cargo:rustc-link-lib=dylib={library}");
    }
}

//! Fetching against servers on the loopback interface that misbehave in every way a mirror can.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use super::*;

/// Three pictures of one pixel.
const CONTENT: &[u8] = &[0, 0, 8, 3, 0, 0, 0, 3, 0, 0, 0, 1, 0, 0, 0, 1, 7, 2, 1];

fn published() -> Published {
    let sha256: String = Sha256::digest(CONTENT).iter().map(|byte| format!("{byte:02x}")).collect();
    Published { name: "some-images-idx3-ubyte", count: 3, bytes: CONTENT.len() as u64, sha256: sha256.leak() }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn ok(body: &[u8]) -> Vec<u8> {
    let mut response = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()).into_bytes();
    response.extend(body);
    response
}

/// A mirror that answers every request with `response` (an empty one keeps the connection open in silence);
/// its address and the number of requests so far.
fn mirror(response: Vec<u8>) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}/mnist", listener.local_addr().unwrap());
    let requests = Arc::new(AtomicUsize::new(0));
    let counter = requests.clone();
    std::thread::spawn(move || {
        let mut silent: Vec<TcpStream> = Vec::new();
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let head = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
            let head: Vec<String> = head.take_while(|line| !line.is_empty()).collect();
            assert!(head[0].starts_with("GET /mnist/some-images-idx3-ubyte.gz "), "{head:?}");
            counter.fetch_add(1, Ordering::SeqCst);
            if response.is_empty() {
                silent.push(stream);
            } else {
                // The client may hang up on an overlong body before the end of it.
                let _ = stream.write_all(&response);
            }
        }
    });
    (address, requests)
}

/// An address at which nothing listens.
fn closed() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}/mnist", listener.local_addr().unwrap())
}

fn fetch(folder: &Path, mirrors: &[String]) -> Result<Vec<String>, MnistError> {
    let download = Download {
        folder: folder.to_owned(),
        mirrors: mirrors.to_vec(),
        connect_timeout: Duration::from_secs(5),
        file_timeout: Duration::from_secs(5),
    };
    // Without the proxies of the environment: loopback must be reached directly.
    let agent = Agent::config_builder().proxy(None).timeout_global(Some(Duration::from_millis(500))).build().into();
    let mut lines = Vec::new();
    download.fetch_files(&agent, &[&published()], &mut |line: &str| lines.push(line.to_owned()))?;
    Ok(lines)
}

fn stored(folder: &TempDir) -> Vec<u8> {
    std::fs::read(folder.path().join("some-images-idx3-ubyte")).unwrap()
}

#[test]
fn bad_mirrors_are_passed_over_and_the_good_one_is_kept() {
    let folder = TempDir::new().unwrap();
    let wrong = gzip(b"an error page of some hotel network");
    let cut = &gzip(CONTENT)[..20];
    let mirrors = [
        closed(),
        mirror(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_vec()).0,
        mirror(ok(&wrong)).0,
        mirror(ok(cut)).0,
        mirror(ok(&gzip(&vec![0; 1 << 20]))).0,
        mirror(ok(&vec![0; 1 << 20])).0,
        mirror(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nshort".to_vec()).0,
        mirror(Vec::new()).0,
        mirror(ok(&gzip(CONTENT))).0,
    ];
    let lines = fetch(folder.path(), &mirrors).unwrap();
    assert_eq!(lines.len(), mirrors.len());
    assert_eq!(stored(&folder), CONTENT);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "no temporary file is left");
}

#[test]
fn what_is_there_and_intact_is_not_fetched_again() {
    let folder = TempDir::new().unwrap();
    // Also a mirror that delivers the file already decompressed is a good one.
    let (address, requests) = mirror(ok(CONTENT));
    fetch(folder.path(), std::slice::from_ref(&address)).unwrap();
    assert!(fetch(folder.path(), std::slice::from_ref(&address)).unwrap().is_empty());
    assert_eq!(requests.load(Ordering::SeqCst), 1);

    std::fs::write(folder.path().join("some-images-idx3-ubyte"), b"bad").unwrap();
    fetch(folder.path(), &[address]).unwrap();
    assert_eq!(requests.load(Ordering::SeqCst), 2);
    assert_eq!(stored(&folder), CONTENT);
}

#[test]
fn without_a_network_the_sentence_names_mirrors_and_remedy_and_nothing_is_lost() {
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("some-images-idx3-ubyte"), b"old").unwrap();
    let mirrors = [closed(), mirror(ok(b"other")).0];
    let error = fetch(folder.path(), &mirrors).unwrap_err();
    assert!(matches!(error, MnistError::Unreachable { .. }));
    let sentence = error.to_string();
    for part in [host(&mirrors[0]), host(&mirrors[1]), "not that of MNIST", "--data DIR", "some-images"] {
        assert!(sentence.contains(part), "{part:?} in {sentence:?}");
    }
    assert_eq!(stored(&folder), b"old");
}

#[test]
fn mirrors_that_fail_alike_share_one_reason() {
    let folder = TempDir::new().unwrap();
    let mirrors = [closed(), closed()];
    let sentence = fetch(folder.path(), &mirrors).unwrap_err().to_string();
    assert!(sentence.contains(&format!("{}, {}: ", host(&mirrors[0]), host(&mirrors[1]))), "{sentence}");
}

#[test]
fn a_folder_that_cannot_be_made_is_an_error() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, b"").unwrap();
    let error = fetch(&file.join("below"), &[closed()]).unwrap_err();
    assert!(matches!(error, MnistError::Write { .. }), "{error}");
}

//! The byte vectors of the TiKV facts (encryption at rest §8.2 to §8.5), cut and flipped in every way.

use prost::Message;

use super::envelope::{self, Envelope, EnvelopeError, Version};
use super::file_dict::{FileDict, FileDictError};
use super::{key_dict, pb};

const KEY_DICTIONARY: &str = "0a360888ef99abc5e88c9111122a0a20000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f10041880e2cfaa061088ef99abc5e88c9111";
const KEY_DICT_FILE: &str = "010000008be1e341000000000000008f0a140a066d6574686f64120a6165733235362d67636d0a120a026976120c0102030405060708090a0b0c0a1f0a0b6165735f67636d5f7461671210dfe7c02b107d5f5e6254a8029530bce8124204144397632dcd0c679b27f107386642956e6bff58c1ae168ac0732967047dc3bc94c992216928c17883b579b9c3a85785545f5d1d5039591c50a20ffb6a059399be";
const KEY_DICT_KMS: &str = "01000000f43c5d4500000000000000cd0a140a066d6574686f64120a6165733235362d67636d0a120a026976120c0102030405060708090a0b0c0a1f0a0b6165735f67636d5f7461671210dfe7c02b107d5f5e6254a8029530bce80a110a0a6b6d735f76656e646f7212034157530a290a126b6d735f636970686572746578745f6b657912134b4d532d434950484552544558542d424c4f42124204144397632dcd0c679b27f107386642956e6bff58c1ae168ac0732967047dc3bc94c992216928c17883b579b9c3a85785545f5d1d5039591c50a20ffb6a059399be";
const KEY_DICT_PLAIN: &str = "01000000991facdd000000000000005b0a130a066d6574686f641209706c61696e7465787412440a380888ef99abc5e88c9111122c0a20000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f10041880e2cfaa0620011088ef99abc5e88c9111";
const FILE_DICT_LOG: &str = "020000002a035242000000000000003f0a3d0a1b2f7661722f6c69622f74696b762f64622f3030303031302e737374121e0888ef99abc5e88c9111121000112233445566778899aabbccddeeff1804f5bf3e6a0020001e012f7661722f6c69622f74696b762f64622f4d414e49464553542d3030303030350888ef99abc5e88c91111210ffeeddccbbaa99887766554433221100180431e36f8e0032000c012f7661722f6c69622f74696b762f726166742d656e67696e652f303030303030303030303030303030312e726166746c6f670888ef99abc5e88c9111180161c0e4c0001b0000022f7661722f6c69622f74696b762f64622f3030303031302e737374";
const FILE_DICT_COMPACT: &str = "020000005554720100000000000000880a420a202f7661722f6c69622f74696b762f64622f4d414e49464553542d303030303035121e0888ef99abc5e88c91111210ffeeddccbbaa9988776655443322110018040a420a322f7661722f6c69622f74696b762f726166742d656e67696e652f303030303030303030303030303030312e726166746c6f67120c0888ef99abc5e88c91111801";
const FILE_DICT_V1: &str = "0100000010b6588e00000000000000a00a130a066d6574686f641209706c61696e746578741288010a420a202f7661722f6c69622f74696b762f64622f4d414e49464553542d303030303035121e0888ef99abc5e88c91111210ffeeddccbbaa9988776655443322110018040a420a322f7661722f6c69622f74696b762f726166742d656e67696e652f303030303030303030303030303030312e726166746c6f67120c0888ef99abc5e88c91111801";

const SST: &str = "/var/lib/tikv/db/000010.sst";
const MANIFEST: &str = "/var/lib/tikv/db/MANIFEST-000005";
const RAFT_LOG: &str = "/var/lib/tikv/raft-engine/0000000000000001.raftlog";
/// Where the first record of `FILE_DICT_LOG` begins.
const FIRST_RECORD: usize = 16 + 63;

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

#[test]
fn key_dictionary_reads_and_writes_the_published_bytes() {
    let bytes = unhex(KEY_DICTIONARY);
    let dict = key_dict::parse(&bytes).unwrap();
    assert_eq!(dict.current_key_id, 0x1122_3344_5566_7788);
    let key = &dict.keys[&dict.current_key_id];
    assert_eq!(
        (key.method, key.creation_time, key.was_exposed),
        (4, 1_700_000_000, false)
    );
    assert_eq!(dict.encode_to_vec(), bytes);
}

#[test]
fn data_keys_do_not_print() {
    let dict = key_dict::parse(&unhex(KEY_DICTIONARY)).unwrap();
    let text = format!("{dict:?}");
    assert!(!text.contains("30, 31") && !text.contains("1f"), "{text}");
}

#[test]
fn envelopes_read_and_write_the_published_bytes() {
    for (text, vendor) in [
        (KEY_DICT_FILE, None),
        (KEY_DICT_KMS, Some(&b"AWS"[..])),
        (KEY_DICT_PLAIN, None),
    ] {
        let bytes = unhex(text);
        let content = envelope::parse_encrypted(&bytes).unwrap();
        assert_eq!(
            content.metadata.get("kms_vendor").map(Vec::as_slice),
            vendor
        );
        let again = envelope::parse_encrypted(&envelope::seal_encrypted(&content)).unwrap();
        assert_eq!(again, content);
    }
}

#[test]
fn a_cut_envelope_is_refused_at_every_byte() {
    let bytes = unhex(KEY_DICT_FILE);
    for len in 0..bytes.len() {
        assert!(
            matches!(
                Envelope::parse(&bytes[..len]),
                Err(EnvelopeError::Truncated { .. })
            ),
            "{len} bytes"
        );
    }
    let mut longer = bytes;
    longer.push(0);
    assert_eq!(
        Envelope::parse(&longer).unwrap_err(),
        EnvelopeError::Trailing(1)
    );
}

#[test]
fn every_flipped_bit_of_an_envelope_is_noticed() {
    let bytes = unhex(KEY_DICT_FILE);
    for bit in 0..bytes.len() * 8 {
        // Bytes 1 to 3 are reserved and ignored on reading.
        if (8..32).contains(&bit) {
            continue;
        }
        let mut damaged = bytes.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        // Version 2 is a legal first byte, but not of key.dict.
        assert!(envelope::parse_encrypted(&damaged).is_err(), "bit {bit}");
    }
}

#[test]
fn file_dictionary_replays_its_log() {
    let dict = FileDict::parse(&unhex(FILE_DICT_LOG)).unwrap();
    assert_eq!(
        dict.entries.keys().collect::<Vec<_>>(),
        [MANIFEST, RAFT_LOG]
    );
    assert_eq!(
        dict.entries[MANIFEST].iv,
        unhex("ffeeddccbbaa99887766554433221100")
    );
    assert_eq!(
        pb::method::from_wire(dict.entries[RAFT_LOG].method),
        Some(crate::api::method::Method::Plaintext)
    );
    assert_eq!(dict.torn_bytes, 0);
}

#[test]
fn file_dictionary_writes_what_it_reads_in_both_versions() {
    for (text, version) in [
        (FILE_DICT_COMPACT, Version::V2),
        (FILE_DICT_V1, Version::V1),
    ] {
        let dict = FileDict::parse(&unhex(text)).unwrap();
        assert_eq!(dict.version, version);
        assert_eq!(dict.entries.len(), 2);
        assert_eq!(FileDict::parse(&dict.encode(version)).unwrap(), dict);
    }
    assert_eq!(
        FileDict::empty(Version::V2).encode(Version::V2),
        unhex("02000000000000000000000000000000")
    );
}

#[test]
fn a_torn_last_record_is_dropped_as_tikv_does() {
    let bytes = unhex(FILE_DICT_LOG);
    for cut in 1..=35 {
        let dict = FileDict::parse(&bytes[..bytes.len() - cut]).unwrap();
        assert_eq!(dict.entries.len(), 3, "cut by {cut}");
        assert!(dict.entries.contains_key(SST));
        assert_eq!(dict.torn_bytes, 36 - cut);
    }
}

#[test]
fn a_damaged_record_in_the_middle_is_fatal_and_located() {
    let mut bytes = unhex(FILE_DICT_LOG);
    bytes[FIRST_RECORD + 9] ^= 1;
    let error = FileDict::parse(&bytes).unwrap_err();
    assert_eq!(
        error,
        FileDictError::Record {
            index: 0,
            offset: FIRST_RECORD,
            what: "its checksum is wrong".to_owned(),
        }
    );
}

#[test]
fn removing_what_is_not_there_is_fatal() {
    let bytes = unhex(FILE_DICT_LOG);
    let record = bytes[bytes.len() - 36..].to_vec();
    let error = FileDict::parse(&[bytes, record].concat()).unwrap_err();
    assert!(error.to_string().contains("has no entry"), "{error}");
}

#[test]
fn no_input_makes_the_parsers_panic() {
    let bytes = unhex(FILE_DICT_LOG);
    for bit in 0..bytes.len() * 8 {
        let mut damaged = bytes.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        let _ = FileDict::parse(&damaged);
    }
    for len in 0..bytes.len() {
        let _ = FileDict::parse(&bytes[..len]);
    }
}

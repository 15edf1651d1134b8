//! The AWS client against a real server of its protocol: moto (`pip install 'moto[server]'`).
#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tikv_security::crypto::secret::SecretBytes;
use tikv_security::kms::aws::{AwsKms, Settings, StaticCredentials};
use tikv_security::kms::{Class, Kms, MasterKey, prove};

/// Set to 1 where moto must be there, as in CI.
const REQUIRED: &str = "TIKV_SECURITY_REQUIRE_MOTO";

struct Moto {
    child: Child,
    endpoint: String,
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Moto {
    /// `None` without moto, unless it is required.
    fn start() -> Option<Self> {
        let installed = Command::new("python3")
            .args(["-c", "import moto.server, flask"])
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success());
        if !installed {
            assert!(
                std::env::var(REQUIRED).as_deref() != Ok("1"),
                "moto is not installed: pip install 'moto[server]'"
            );
            eprintln!("NOT RUN: moto is not installed: pip install 'moto[server]'");
            return None;
        }
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let mut child = Command::new("python3")
            .args(["-m", "moto.server", "-p", &port.to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = child.stderr.take().unwrap();
        std::thread::spawn(move || {
            BufReader::new(log)
                .lines()
                .map_while(Result::ok)
                .for_each(drop);
        });
        let end = Instant::now() + Duration::from_mins(1);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < end, "moto did not start within a minute");
            std::thread::sleep(Duration::from_millis(50));
        }
        let endpoint = format!("http://127.0.0.1:{port}");
        Some(Self { child, endpoint })
    }

    fn kms(&self, key_id: &str) -> AwsKms {
        AwsKms::new(Settings {
            key_id: key_id.to_owned(),
            region: Some("eu-central-1".to_owned()),
            endpoint: Some(self.endpoint.clone()),
            credentials: Some(StaticCredentials::new("id", "secret", None)),
        })
    }

    /// A call that the program itself never makes.
    fn call(&self, operation: &str, body: &str) -> String {
        let script = "import sys, urllib.request as u\n\
            request = u.Request(sys.argv[1], sys.argv[3].encode(), {'X-Amz-Target': 'TrentService.' + sys.argv[2],\
            'Content-Type': 'application/x-amz-json-1.1',\
            'Authorization': 'AWS4-HMAC-SHA256 Credential=id/20260101/eu-central-1/kms/aws4_request, SignedHeaders=host, Signature=0'})\n\
            print(u.urlopen(request).read().decode())";
        let arguments = ["-c", script, &self.endpoint, operation, body];
        let output = Command::new("python3").args(arguments).output().unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    }

    fn new_key(&self, body: &str) -> String {
        let answer = self.call("CreateKey", body);
        let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
        answer["KeyMetadata"]["KeyId"].as_str().unwrap().to_owned()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_a_real_server_are_proven_used_and_told_apart() {
    let Some(moto) = Moto::start() else { return };
    let key = moto.new_key("{}");
    assert_eq!(prove(&moto.kms(&key)).await, Ok(()));

    let master = MasterKey::from_kms(moto.kms(&key));
    let plain = SecretBytes::new(b"a key dictionary".to_vec());
    let first = master.seal(&plain, None).unwrap();
    let second = master.seal(&plain, Some(&first)).unwrap();
    assert_eq!(first.metadata["kms_vendor"], b"AWS");
    assert_eq!(
        first.metadata["kms_ciphertext_key"],
        second.metadata["kms_ciphertext_key"]
    );
    assert_eq!(master.open(&second).unwrap().expose(), plain.expose());

    let other = moto.new_key("{}");
    let wrapped = &first.metadata["kms_ciphertext_key"];
    let wrong = moto.kms(&other).unwrap(wrapped).await.unwrap_err();
    // AWS says IncorrectKeyException here; moto says AccessDeniedException.
    assert_eq!(wrong.class, Class::Denied, "{wrong}");

    let missing = moto
        .kms("00000000-0000-0000-0000-000000000000")
        .describe()
        .await
        .unwrap_err();
    assert_eq!(missing.class, Class::NotFound, "{missing}");

    moto.call("DisableKey", &format!(r#"{{"KeyId":"{other}"}}"#));
    let disabled = moto.kms(&other).describe().await.unwrap_err();
    assert_eq!(disabled.class, Class::Disabled, "{disabled}");

    let leaving = format!(r#"{{"KeyId":"{other}","PendingWindowInDays":7}}"#);
    moto.call("ScheduleKeyDeletion", &leaving);
    let leaves = moto.kms(&other).describe().await.unwrap_err();
    assert_eq!(leaves.class, Class::PendingDeletion, "{leaves}");

    let signing = moto.new_key(r#"{"KeyUsage":"SIGN_VERIFY","KeySpec":"ECC_NIST_P256"}"#);
    let usage = moto.kms(&signing).describe().await.unwrap_err();
    assert_eq!(usage.class, Class::WrongKey, "{usage}");

    let endpoint = moto.kms(&key);
    drop(moto);
    let down = endpoint.describe().await.unwrap_err();
    assert_eq!(down.class, Class::Unavailable, "{down}");
}

const INSIDE: &str = "TIKV_SECURITY_TEST_NO_ROOTS";

/// In an image without the roots of trust, as bare ones of distributions are.
#[tokio::test]
async fn without_roots_of_trust_it_is_told_and_nobody_panics() {
    if std::env::var_os(INSIDE).is_none() {
        let done = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "without_roots_of_trust_it_is_told_and_nobody_panics",
            ])
            .env(INSIDE, "1")
            .env("SSL_CERT_FILE", "/dev/null")
            .env("SSL_CERT_DIR", "/nowhere")
            .status();
        assert!(done.unwrap().success(), "in a process of its own");
        return;
    }
    let kms = AwsKms::new(Settings {
        key_id: "one".to_owned(),
        region: None,
        endpoint: None,
        credentials: Some(StaticCredentials::new("id", "secret", None)),
    });
    for error in [
        kms.describe().await.err().unwrap(),
        kms.generate().await.err().unwrap(),
        kms.unwrap(b"wrapped").await.err().unwrap(),
    ] {
        assert_eq!(error.class, Class::Malformed, "{error}");
        assert!(
            error.message.contains("certificates of authorities"),
            "{error}"
        );
    }
}

//! AWS KMS by a real server of its protocol: moto (`pip install 'moto[server]'`).

use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tikv_security::kms::aws::{AwsKms, Settings, StaticCredentials};

/// Set to 1 where moto must be there, as in CI.
const REQUIRED: &str = "TIKV_SECURITY_REQUIRE_MOTO";

/// A server.
pub struct Moto {
    child: Child,
    /// Its URL.
    pub endpoint: String,
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Moto {
    /// `None` without moto, unless it is required.
    pub fn start() -> Option<Self> {
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

    /// A key of it.
    pub fn kms(&self, key_id: &str) -> AwsKms {
        AwsKms::new(Settings {
            key_id: key_id.to_owned(),
            region: Some("eu-central-1".to_owned()),
            endpoint: Some(self.endpoint.clone()),
            credentials: Some(StaticCredentials::new("id", "secret", None)),
        })
    }

    /// A call of AWS KMS that the program itself never makes.
    pub fn call(&self, operation: &str, body: &str) -> String {
        let answer = self.ask("kms", &format!("TrentService.{operation}"), body);
        answer.unwrap()
    }

    /// A call of Secrets Manager by somebody else; `Err` is what it says.
    pub fn secrets(&self, operation: &str, body: &serde_json::Value) -> Result<String, String> {
        let operation = format!("secretsmanager.{operation}");
        self.ask("secretsmanager", &operation, &body.to_string())
    }

    fn ask(&self, service: &str, operation: &str, body: &str) -> Result<String, String> {
        let script = "import sys, urllib.request as u, urllib.error as e\n\
            request = u.Request(sys.argv[1], sys.argv[3].encode(), {'X-Amz-Target': sys.argv[2],\
            'Content-Type': 'application/x-amz-json-1.1',\
            'Authorization': 'AWS4-HMAC-SHA256 Credential=id/20260101/eu-central-1/' + sys.argv[4] + '/aws4_request, SignedHeaders=host, Signature=0'})\n\
            try: print(u.urlopen(request).read().decode())\n\
            except e.HTTPError as error: sys.exit(error.read().decode())";
        let arguments = ["-c", script, &self.endpoint, operation, body, service];
        let output = Command::new("python3").args(arguments).output().unwrap();
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        Ok(String::from_utf8(output.stdout).unwrap())
    }

    /// A new key; its id.
    pub fn new_key(&self, body: &str) -> String {
        let answer = self.call("CreateKey", body);
        let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
        answer["KeyMetadata"]["KeyId"].as_str().unwrap().to_owned()
    }
}

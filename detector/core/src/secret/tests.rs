use super::name::{HINTS, NAME_MAX, NAMES, OTHERS, Telling};
use super::value::entropy_is_high;
use super::{Named, find, holds, log2_1024ths};

/// Texts, and what of them is followed.
const SECRETS: &[(&str, &str)] = &[
    ("token ghp_a1B2a1B2a1B2a1B2a1B2a1B2a1B2a1B2a1B2 end", "a1B2a1B2a1B2a1B2a1B2a1B2a1B2a1B2a1B2"),
    ("https://ci.example/ghp_a1B2a1B2a1B2a1B2a1B2a1B2a1B2a1B2a1B2/x", "a1B2a1B2a1B2a1B2a1B2a1B2a1B2a1B2a1B2"),
    (r#"{"log":"one\nghp_a1B2a1B2a1B2a1B2a1B2a1B2a1B2a1B2a1B2"}"#, "a1B2a1B2a1B2a1B2a1B2a1B2a1B2a1B2a1B2"),
    (
        "Bearer eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0zdWIiOiIxMjM0.c2lnbmF0dXJlMQc2lnbmF0dXJl1",
        "eyJzdWIiOiIxMjM0zdWIiOiIxMjM0.c2lnbmF0dXJlMQc2lnbmF0dXJl1",
    ),
    ("key AKIAQ7RT2ZPLMNB45XYW here", "Q7RT2ZPLMNB45XYW"),
    ("AKIAQDRTJZPLMNBQRXYW", "QDRTJZPLMNBQRXYW"),
    ("HF_TOKEN=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", "OwAJiecAHjIxfihVLEjBWSqLkQgnFCXtkP"),
    ("DB_PASSWORD=\"Tr0ub,4dor&3xyzW\"", "Tr0ub,4dor&3xyzW"),
    ("DB_PASSWORD='Tr0u}4dor`3xyzW'", "Tr0u}4dor`3xyzW"),
    (r#"{"password": "Tr0u,4dor3xyzW"} trailing"#, "Tr0u,4dor3xyzW"),
    (r#"log: {\"password\":\"Tr0u,4dor3xyzW\"}"#, "Tr0u,4dor3xyzW"),
    ("password: \"str0ngPassword\"", "str0ngPassword"),
    ("password: Max2024Sommer", "Max2024Sommer"),
    ("password: correct-horse-battery-v2", "correct-horse-battery-v2"),
    ("password: 2024-Sommer-Berlin", "2024-Sommer-Berlin"),
    ("CREATE USER reporting WITH PASSWORD 'hunter!22x';", "hunter!22x"),
    ("{:db_spec {:user \"clj\" :password \"hunter22x\" :dbname \"graph\"}}", "hunter22x"),
    ("define('DB_PASSWORD', 'hunter!22x');", "hunter!22x"),
    ("page.fill('#password', 'hunter22x')", "hunter22x"),
    ("machine api.test\n  login ada\n  password hunter-22-x\n", "hunter-22-x"),
    ("| key | value |\n|---|---|\n| user | ada |\n| password | hunter!22x |", "hunter!22x"),
    ("<string name=\"encryption_key\">7fe740549c6ed44ec5304166636f130e</string>", "7fe740549c6ed44ec5304166636f130e"),
    ("<key>AdminPassword</key>\n<string>hunter22x</string>", "hunter22x"),
    ("<property><name>db.password</name><value>hunter22x</value></property>", "hunter22x"),
    ("val apiKey: String = \"qS0Ppo20w7ahjkR2ZuceII02\"", "qS0Ppo20w7ahjkR2ZuceII02"),
    (
        "SECRET_KEY = '5YCP4m752ecKlUqIAeKiVTBYB$kyN1GZie7djM^r0G7c(c)aiK5'",
        "5YCP4m752ecKlUqIAeKiVTBYB$kyN1GZie7djM^r0G7c(c)aiK5",
    ),
    (r#"{"users":[{"login":"kim","pass":"hunter22x"}],"page":1} x"#, "hunter22x"),
    ("ansible_become_pass: hunter22x", "hunter22x"),
    ("psql: PGPASSWORD=hunter22x psql -h db", "hunter22x"),
    ("proxy_set_header Authorization \"Basic E2YhHsIcjSVyyLI65hpPAVG8A2mj4111\";", "E2YhHsIcjSVyyLI65hpPAVG8A2mj4111"),
    ("\tpsk=\"hunter22x\"\n", "hunter22x"),
    ("define( 'DB_PASSWORD', 'uY7e)kQ2vM!s' );", "uY7e)kQ2vM!s"),
    ("install.ps1 -User svc -Password 'B4ckup$Nacht19' -Target D:", "B4ckup$Nacht19"),
    (
        "aws configure set aws_secret_access_key PSWzX0424HVl+Mqdv2gpFO9A5rcTVhi4CeFmZa1n\n",
        "PSWzX0424HVl+Mqdv2gpFO9A5rcTVhi4CeFmZa1n",
    ),
    ("  <password>N3xus.Rel4</password>", "N3xus.Rel4"),
    ("auth: { user: 'crawler', pass: 'hunter22x' }", "hunter22x"),
    ("user = info\npass = hunter22x\n", "hunter22x"),
    ("APP_KEY=base64:sS9z6q5G8BrEMENhar2RTwzOBwl9DbLcqlXaf4Fz3/g=", "sS9z6q5G8BrEMENhar2RTwzOBwl9DbLcqlXaf4Fz3/g="),
    ("const TOKEN: &str = \"B3BXebAM3lv9HMUSiJzIIltbQM4liBgV\";", "B3BXebAM3lv9HMUSiJzIIltbQM4liBgV"),
    ("requirepass hunter22x\n", "hunter22x"),
    ("Server=db;UID=sa;PWD=hunter22x;", "hunter22x"),
    ("postgres://app:SilverMonkey@db", "SilverMonkey"),
    ("https://app:#Secret99x@db", "#Secret99x"),
    ("password: 2024-05-12Sommer!Berlin", "2024-05-12Sommer!Berlin"),
    ("Benutzername: ada\nPasswort: hunter22x", "hunter22x"),
    ("das neue VPN-Kennwort lautet hunter22x (ab Montag)", "hunter22x"),
    (
        "-----BEGIN RSA PRIVATE KEY-----\nMIIEow1BxMIIEow1BxMIIEow1BxMIIEow1BxMIIEow1Bx\n-----END RSA PRIVATE KEY-----",
        "\nMIIEow1BxMIIEow1BxMIIEow1BxMIIEow1BxMIIEow1Bx\n",
    ),
    (r#"{"password": "hunter22x"}"#, "hunter22x"),
    (r#"{"db_password":"hunter22x"}"#, "hunter22x"),
    (r#"{"password": "a&b12345x"}"#, "a&b12345x"),
    (r#"{"body":"{\"password\": \"hunter22x\"}"}"#, "hunter22x"),
    ("DB_PASSWORD=hunter22x\nX=1", "hunter22x"),
    ("user=ada&password=hunter22x&go=1", "hunter22x"),
    ("password             = hunter22x", "hunter22x"),
    ("password='self.password1'", "self.password1"),
    ("the password is hunter22x, log in", "hunter22x"),
    ("Server=db;User Id=app;Password=hunter22x;Encrypt=true", "hunter22x"),
    ("'password' => 'hunter22x',", "hunter22x"),
    ("<server><password>hunter22x</password></server>", "hunter22x"),
    ("mysql --user app --password hunter22x -e 'select 1'", "hunter22x"),
    ("tool --api-key=hunter22x", "hunter22x"),
    ("log in (password: hunter22x) first", "hunter22x"),
    ("Password:\thunter22x", "hunter22x"),
    ("password\t=\thunter22x", "hunter22x"),
    ("Password: `hunter22x`.", "hunter22x"),
    ("**Password:** hunter22x", "hunter22x"),
    ("- **API Key**: abcdef123456", "abcdef123456"),
    ("`password`: **hunter22x**", "hunter22x"),
    ("Password (prod): hunter22x", "hunter22x"),
    ("password:hunter22x;user:ada", "hunter22x"),
    ("DB_PASSWORD_PROD=hunter22x", "hunter22x"),
    ("SECRET_KEY_BASE: hunter22x", "hunter22x"),
    ("API_KEY_2=hunter22x", "hunter22x"),
    ("SMTP_PASS=hunter22x", "hunter22x"),
    ("password = b'hunter22x'", "hunter22x"),
    ("clientSecret: hunter-22-x", "hunter-22-x"),
    ("secret: hunter-Two2x", "hunter-Two2x"),
    ("secret: 3f2504e04f8911d39a0c0305e82c3301", "3f2504e04f8911d39a0c0305e82c3301"),
    ("aws_secret_access_key = /b8Zt3LmN0pXr7VwYb2Kd5HqW9eRtYuI1oPaSdFg", "/b8Zt3LmN0pXr7VwYb2Kd5HqW9eRtYuI1oPaSdFg"),
    ("pypi-AKIAQ7RT2ZPLMNB45XYW", "Q7RT2ZPLMNB45XYW"),
    ("hf_AKIAQ7RT2ZPLMNB45XYW.json", "Q7RT2ZPLMNB45XYW"),
    ("eyJx-AKIAQ7RT2ZPLMNB45XYW", "Q7RT2ZPLMNB45XYW"),
    ("redacted_-ghp_a1B2a1B2a1B2a1B2a1B2a1B2a1B2a1B2a1B2", "a1B2a1B2a1B2a1B2a1B2a1B2a1B2a1B2a1B2"),
    ("https://app:Pw12345x@host,contact:ops@corp.test", "Pw12345x"),
    ("https://app:Pw1#45x@host/", "Pw1#45x"),
    ("[api_key=hunter22x]", "hunter22x"),
    ("password := hunter22x", "hunter22x"),
    ("password:=hunter22x", "hunter22x"),
    ("Password:\r\n    hunter22x\r\nbye", "hunter22x"),
    ("backup-prod_ghp_a1B2a1B2a1B2a1B2a1B2a1B2a1B2a1B2a1B2", "a1B2a1B2a1B2a1B2a1B2a1B2a1B2a1B2a1B2"),
    ("env:\n  - name: DB_PASSWORD\n    value: hunter22x\n", "hunter22x"),
    ("env:\n  - name: \"DB_PASSWORD\"\n    value: \"hunter22x\"\n", "hunter22x"),
    (r#"[{\"Key\": \"api_key\", \"Value\": \"hunter22x\"}]"#, "hunter22x"),
    (r#"<input name="password" value="hunter22x">"#, "hunter22x"),
    ("API_KEY: abcdef123456.", "abcdef123456"),
    ("API_KEY=abcdef123456", "abcdef123456"),
    ("api.key=abcdef123456", "abcdef123456"),
    ("postgres://app:s3cr3t-Pw@db.internal:5432/x", "s3cr3t-Pw"),
    ("postgres://app:s3cr3t-Pw@db", "s3cr3t-Pw"),
    ("Authorization: Bearer q8Zt3LmN0pXr7VwYb2Kd5H", "q8Zt3LmN0pXr7VwYb2Kd5H"),
    ("session token=q8Zt3LmN0pXr7VwYb2Kd5H", "q8Zt3LmN0pXr7VwYb2Kd5H"),
];

/// Texts that are labelled, and nothing of them is followed.
const LABELLED_ALONE: &[&str] = &[
    "-----BEGIN RSA PRIVATE KEY-----\nMIIE",
    "-----BEGIN PGP PRIVATE KEY BLOCK-----\n\nlQHY",
    "session eyJpdiI6Ik5JQnB0M1ZyZlE5SmRkaUJ3PT0iLCJ2YWx1ZSI6ImRlZmdoaWprbG1ub3AifQ",
    "Bearer eyJhbGciOiJkaXIiLCJlbmMiOiJBMTI4Q0JDLUhTMjU2In0..AxY8DCtDaGlsbGljb3RoZQ.KDlTtXchhZTGufMYmOYGS4HffxPSUrfmqCHX",
];

const LOOK_ALIKES: &[&str] = &[
    "",
    "ä:ö=ü",
    "client secret: no",
    r#"{"password": null}"#,
    r#"{"password": "***"}"#,
    "ghp_short",
    "password = forms.CharField(max_length=128)",
    "secret=os.environ['X1']",
    "SECRET_KEY: ${KEY_2_VALUE}",
    "the word password: is here",
    "the password is required, see page 22",
    "-----BEGIN PUBLIC KEY-----\nMIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKC",
    "-----BEGIN CERTIFICATE----- of it, and no PRIVATE KEY----- beside it in these lines, which are many",
    "sk-learn is a library for machine learning",
    "sk-this-is-a-very-long-kebab-case-name",
    "sk-this-is-a-very-long-kebab-case-name-2",
    "token: 3f2504e0-4f89-11d3-9a0c-0305e82c3301",
    "key=da39a3ee5e6b4b0d3255bfef95601890afd80709",
    "order_id: A1B2C3D4E5F6G7H8J9K0L1M2",
    "cache key: user/42/profile/settings",
    "https://example.com:8080/a@b",
    "https://example.com/sk-learn/hf_space/AKIA",
    "password=no&next=page22",
    "eyJhbGciOiJIUzI1NiJ9",
    "max_tokens=4096",
    "primary_key=True",
    "len(password) >= min12345",
    "if password > abc123 then",
    "<a href=x1>password</a>1234567",
    "name: password\ntitle: chapter2",
    "value: hunter22x",
    "names: password, value: hunter22x",
    "name: price, value: eur1234",
    "the --password-file /run/secrets/db1",
    "a--password 2fa",
    "HOME=/srv/ada\nPWD=/srv/ada/app2\nOLDPWD=/tmp/build1",
    "private_key = ~/.ssh/id_ed25519",
    "ssl_private_key: certs/server1.pem",
    "the data of a Secret is base64 encoded, and the password is sha256-hashed",
    "Password: Argon2id\nPassword: 12-characters, OAuth2-specific\npassword: aes-256-gcm",
    "access_key: arn:aws:iam::123456789012:role/x\npassword: op://vault1/item/password",
    "docker build --secret id=npmrc1,src=.npmrc",
    "- secret: app-tls-v2\n- existingSecret: db-creds-1",
    "secret: kubernetes.io/service-account-token2",
    r#"{"nextPageToken":"CigKGmo5Zk2Lq8RtVw3XyB7nMpQs1Ue"}"#,
    r#"{"Key":"reports/2024/Q3/Summary-Final.pdf"}"#,
    r#"{"Key":"reports/2024/Q3/SummaryFinal"}"#,
    "PublicKey = xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=",
    "def sign(private_key: Ed25519PrivateKey, n: int)",
    "aws_secret_access_key=settings.S3_SECRET_KEY,",
    "connect(password=pw1_password)",
    r#"[{"name":"password","value":"varchar255"}]"#,
    r#"<input name="csrf_token" value="q8Zt3LmN0pXr7VwYb2Kd5H">"#,
    "http://grafana:3000?email=ada@example.com",
    "DATABASE_URL=postgres://USER:PASSWORD@HOST:PORT/NAME or ://user:your_password@h or ://u:YOUR-PASSWORD@h or ://u:xxxxxx1@h",
    "API_KEY=your-api-key-123\npassword: %DB_PASSWORD1%\npassword: @Password1\nsk-xxxxxxxxxxxxxxxxxxxxxxxx1",
    "--- PASS: TestParseConfigV2WithDefaults (0.00s)\nauth: MigrateToOAuth2WithPkceFlow",
    "secret_key: ed25519_dalek::SigningKey,",
    "https://us02web.zoom.us/j/8123456789?pwd=Q0xkZ3Jxd2VydHl1aW9wYXNkZg.1",
    "https://s3.test/x?X-Amz-Credential=ASIAQ7RT2ZPLMNB45XYW%2F20260101",
    r#"{"files":[{"key":"aBcDeFgHiJkLmNoPqRsT12"}],"PaginationToken":"q8Zt3LmN0pXr7VwYb2Kd5H","obj_token":"q8Zt3LmN0pXr7VwYb2Kd5H"}"#,
    "key AKIAIOSFODNN7EXAMPLE and ASIAPACIFICNORTHEAST and sk-SK-Chirp3-HD-Achernar",
    "private key: secp256k1, prime256v1 or ed25519; encryption_key: ChaCha20-Poly1305",
    "fix password: PROJ-1234\nlast_password: 2024-01-01T10:11:12Z\nPassword: 2FA-protected\npassword: 1Password",
    "access token: RFC6750\nRefresh token: 30days",
    "secret: regcred1\nexistingSecret: postgres16\nsecret: default/app1-tls",
    "UPDATE users SET password=:pw1hash",
    "password: *anchor1\npassword: &anchor1 x",
    "Cache restored from key: Linux-node-d7a8fbb307d7809469ca9abcb0082e4f8d5651e46d3cdb762d02d08bf37c9e592",
    "| password | varchar255 | no |\n| token | uuid | x1 |",
    "  annotations:\n    checksum/secret: ff854acced15dc661949cf1712ac16ff430ae90a8dfc39a8b1a9fbe9d3169c49",
    "[user]\n\tsigningkey = 802f065ba06a3908",
    "boarding_pass: ABC12DE\nday-pass: 3days2nights\npass: test_login_v2",
    "arn:aws:secretsmanager:us-east-1:112233445566:secret:prod/api-Xk3LmQ",
    "\"password\": \"$DB_PASSWORD1\" or \"password\": \"<password1>\" or \"${pw1}abc\"",
    "NAME NAMESPACE\ndb-password   app-ns1\napi-key  prod-eu1\nrpassword v7.3.1\n",
    "see test_password test22\n- check_password step3b\ncall reset_password twice2day\n",
    "assertEquals(\"password\", \"field2name\"); t(\"password\", \"Passwort1\"); label(\"password\", 'input-2')",
    "evil.pw:8080a1 and Modulation QPSK: 16apsk34 and TLS_PSK: 0x008Aab",
    "Password reset2024 was sent to you\nsecret santa2024",
    "getenv(\"DB_PASSWORD\", \"\") and set('token', 'row2') or [\"password\", \"user123\"]",
    "auth_token: checkout.step2.confirmButtonLabel",
    "hf_Meta-Llama-3.1-8B-Instruct-AWQ-int4",
    "npm_package_devDependencies_babel_preset_es2015=1",
    "dist/messages.sk-SK.6f3a9b2c1d4e5f60718293.js",
    "Enter your password:\nstep22 is to wait",
    "(password: f(x12345))",
    "my-sk-this-is-a-very-long-kebab-case-name-2",
];

#[test]
fn secrets_and_what_looks_alike() {
    let shown = |text: &str| -> Vec<String> {
        find("", text.as_bytes()).into_iter().map(|it| text[it.at].to_owned()).collect()
    };
    for (text, expected) in SECRETS {
        assert_eq!(shown(text), [*expected], "{text}");
        assert!(holds(text), "{text}");
    }
    for text in LABELLED_ALONE {
        assert_eq!((shown(text).as_slice(), holds(text)), (&[][..], true), "{text}");
    }
    for text in LOOK_ALIKES {
        assert_eq!((shown(text).as_slice(), holds(text)), (&[][..], false), "{text}");
    }
    assert_eq!(find("api_key", b"abcdef123456").len(), 1);
    assert_eq!(find("db.password", b"correct horse battery").len(), 0);
    assert_eq!(find("name", b"abcdef123456").len(), 0);
}

#[test]
fn a_value_stands_under_the_name_beside_it() {
    let mut named = Named::default();
    for (name, text, expected) in [
        ("value", "x", "value"),
        ("name", "DB_PASSWORD", "name"),
        ("value", "hunter22x", "DB_PASSWORD"),
        ("value", "another of a list", "DB_PASSWORD"),
        ("other", "x", "other"),
        ("value", "x", "value"),
        ("Key", "api_key", "Key"),
        ("name", "colour", "name"),
        ("value", "x", "value"),
    ] {
        assert_eq!(named.of(name, text), expected, "{name}: {text}");
    }
}

#[test]
fn names_are_told_by_their_end() {
    assert_eq!(NAMES.iter().chain(HINTS).chain(OTHERS).map(|it| it.len()).max(), Some(NAME_MAX));
    for (name, expected) in [
        ("password", Telling::Name),
        ("DB_PassWord", Telling::Name),
        ("api-key", Telling::Name),
        ("my.encryption_key", Telling::Name),
        ("X-Authorization", Telling::Hint),
        ("cacheKey", Telling::Nothing),
        ("nextPageToken", Telling::Nothing),
        ("PWD", Telling::Nothing),
        ("db.pwd", Telling::Name),
        ("DB_PASSWORD_PROD", Telling::Name),
        ("api_key_2", Telling::Name),
        ("app_secret", Telling::Resource),
        ("boarding_pass", Telling::Hint),
        ("smtp_pass", Telling::Name),
        ("word", Telling::Nothing),
        ("password_hint", Telling::Nothing),
        ("", Telling::Nothing),
        ("___", Telling::Nothing),
    ] {
        assert_eq!(Telling::of(name.as_bytes()), expected, "{name}");
    }
}

#[test]
fn entropy_in_whole_numbers() {
    assert_eq!([1, 2, 3, 8, 1000].map(log2_1024ths), [0, 1024, 1623, 3072, 10204]);
    assert!(entropy_is_high(b"q8Zt3LmN0pXr7VwYb2Kd5H"));
    assert!(!entropy_is_high(b"aaaaaaaaaaaaaaaaaaaa"));
    assert!(!entropy_is_high(b"Aa1Aa1Aa1Aa1Aa1Aa1Aa1"));
}

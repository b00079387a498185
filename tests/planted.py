"""Secrets in all the shapes in which people and programs write them."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass
from urllib.parse import quote


@dataclass(frozen=True)
class Planted:
    """A piece of text, and the words in it that nobody may read."""

    name: str
    text: str
    secrets: tuple[str, ...]


def word(seed: str, length: int = 22) -> str:
    """A word as a password is, always the same for `seed`."""
    digest = base64.b32encode(hashlib.sha256(seed.encode()).digest()).decode()
    return f"{digest[:7]}{digest[7:14].lower()}{digest[14:]}"[:length]


def digits(seed: str, length: int) -> str:
    """The same in hexadecimal digits."""
    return hashlib.sha512(seed.encode()).hexdigest()[:length]


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


# The secret stands where {} does; other braces are doubled.
_TEXTS = {
    # Tokens of services
    "hf": "downloading with hf_{}",
    "openai": "key sk-proj-{}",
    "openai old": "Incorrect API key provided: sk-{}.",
    "anthropic": "using sk-ant-api03-{}",
    "github": "git clone with ghp_{}",
    "github fine": "github_pat_11AAAAAAA0{}",
    "gitlab": "remote: glpat-{}",
    "slack": "posting as xoxb-123456789012-123456789012-{}",
    "slack hook": "POST https://hooks.slack.com/services/T0AAAAAAA/B0AAAAAAA/{}",
    "slack app": "xapp-1-A0AAAAAAAAA-1234567890123-{}",
    "stripe": "sk_live_{}",
    "npm": "npm_{}",
    "pypi": "pypi-AgEIcHlwaS5vcmcC{}",
    "docker": "dckr_pat_{}",
    "google": "AIzaSy{}",
    "google oauth": "ya29.{}",
    "google secret": "GOCSPX-{}",
    "sendgrid": "SG.ngeVfQFYQlKU0ufo8x5d1A.{}",
    "nvidia": "nvapi-{}",
    "replicate": "r8_{}",
    "groq": "gsk_{}",
    "vault": "hvs.{}",
    "telegram": "https://api.telegram.org/bot123456789:AA{}/sendMessage",
    "jwt": "got eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.{}",
    # Names and values
    "env": "HF_TOKEN={}",
    "env in quotes": "export OPENAI_API_KEY='{} with words'",
    "env with spaces": "WANDB_API_KEY = {}",
    "export": 'export DB_PASSWORD="{}"',
    "csh": "setenv HF_TOKEN {}",
    "powershell": '$env:HF_TOKEN = "{}"',
    "powershell braces": "${{env:AZURE_CLIENT_SECRET}}='{}'",
    "cmd": "set HF_TOKEN={}",
    "setx": 'setx HF_TOKEN "{}"',
    "fish": "set -x HF_TOKEN {}",
    "fish exported": "set -gx OPENAI_API_KEY '{}'",
    "systemd": 'Environment="HF_TOKEN={}" "VLLM_X=1"',
    "systemd bare": "Environment=VLLM_API_KEY={}",
    "ini": "[db]\npassword = {}\nhost = a",
    "ini without spaces": "[x]\nclient_secret:{}",
    "properties": "spring.datasource.password={}",
    "toml": 'api_key = "{}"',
    "yaml": "hf_token: {}",
    "yaml in quotes": 'password: "{}"',
    "yaml literal": "secret_key: |\n  {}\nport: 1",
    "yaml folded": "api_key: >-\n    {}\n",
    "yaml on the next line": "token:\n  {}\n",
    "yaml list": "api_keys:\n- {}\n- other",
    "yaml in a log": "INFO config:\n  database:\n    password: |-\n      {}\n    port: 1",
    "yaml tagged": "password: !!str {}",
    "yaml anchored": "password: &pw {}",
    "k8s env": "- name: HF_TOKEN\n  value: {}",
    "k8s env in quotes": '  - name: HF_TOKEN\n    value: "{}"',
    "k8s env on one line": "env: [{{name: HF_TOKEN, value: {}}}]",
    "k8s secret": "kind: Secret\ndata:\n  hf-token: {}\n",
    "kubeconfig": "users:\n- name: a\n  user:\n    token: {}",
    "kubeconfig key": "    client-key-data: {}",
    "json": '{{"api_key": "{}", "n": 1}}',
    "json without spaces": '{{"accessToken":"{}"}}',
    "json on two lines": '"password":\n    "{}"',
    "json list": '{{"api_keys": [\n  "{}",\n  "b"]}}',
    "json number as name": '{{"AccountKey": "{}"}}',
    "python": "Config(password='{}', port=1)",
    "python bytes": "{{'password': b'{}'}}",
    "python secret string": "api_key=SecretStr('{}')",
    "python environ": "environ({{'HF_TOKEN': '{}'}})",
    "python tuple": "('HF_TOKEN', '{}')",
    "python assignment": 'os.environ["HF_TOKEN"] = "{}"',
    "python setdefault": 'os.environ.setdefault("HF_TOKEN", "{}")',
    "ruby": ":password => '{}'",
    "go": "Token:{} Port:1",
    "go in quotes": 'APIKey:"{}"',
    "xml": "<password>{}</password>",
    "xml attribute": '<add key="x" password="{}" />',
    "maven": "<server><username>a</username><passphrase>{}</passphrase></server>",
    "xml name and value": '<add name="ApiKey" value="{}" />',
    "html form": '<input name="password" value="{}">',
    "words": "the password is {}",
    "words with a colon": "Your new API key: {}",
    "words in quotes": 'logged in with password "{}"',
    "prompt": "Enter passphrase for key: \nPassword for 'https://me@host': {}",
    # Connection strings
    "ado": "Server=db;User Id=sa;Password={};Encrypt=yes",
    "ado short": "Server=db;Uid=sa;Pwd={};Encrypt=yes",
    "ado lower": "server=db;uid=sa;pwd={};",
    "ado upper": "SERVER=db;UID=sa;PWD={}",
    "odbc": "Driver={{ODBC Driver 18}};Server=db;UID=sa;PWD={{{}}}",
    "azure": "DefaultEndpointsProtocol=https;AccountName=a;AccountKey={}==;EndpointSuffix=x",
    "azure bus": "Endpoint=sb://a/;SharedAccessKeyName=Root;SharedAccessKey={}=",
    "postgres words": "host=db user=me password={} dbname=x",
    "jdbc": "jdbc:postgresql://db/x?user=me&password={}&ssl=1",
    "jdbc oracle": "jdbc:oracle:thin:scott/{}@db:1521:x",
    "address": "postgres://me:{}@db:5432/x",
    "address without name": "redis://:{}@cache:6379/0",
    "address token": "https://{}@github.com/a/b.git",
    "address oauth": "https://oauth2:{}@gitlab.com/a/b.git",
    "smtp": "smtps://me%40a.com:{}@mail:465",
    "mongo": "mongodb+srv://me:{}@cluster0.x.mongodb.net/?w=majority",
    "sentry": "https://{}@o0.ingest.sentry.io/1",
    # Files
    "pgpass": "localhost:5432:db:me:{}",
    "netrc": "machine huggingface.co login me password {}",
    "netrc on lines": "machine api.github.com\n  login me\n  password {}\n",
    "aws": "[default]\naws_access_key_id = AKIAIOSFODNN7EXAMPLE\naws_secret_access_key = {}/a+b",
    "aws session": "aws_session_token={}//////////",
    "aws json": '"SecretAccessKey": "{}", "SessionToken": "x"',
    "aws csv": "Access key ID,Secret access key\nAKIAIOSFODNN7EXAMPLE,{}abcdefghijklmnopqr",
    "docker config": '{{"auths": {{"ghcr.io": {{"auth": "{}"}}}}}}',
    "docker identity": '"identitytoken": "{}"',
    "npmrc": "//registry.npmjs.org/:_authToken={}",
    "pypirc": "[pypi]\nusername = __token__\npassword = {}",
    "htpasswd": "me:$apr1$abcdefgh${}",
    "shadow": "root:$6$saltsalt${}:19000:0:99999:7:::",
    "git credentials": "https://me:{}@github.com",
    "terraform": 'variable "db_password" {{ default = "{}" }}',
    "putty": "Private-Lines: 1\n{}{}\nPrivate-MAC: {}",
    # Frames
    "pem": "-----BEGIN RSA PRIVATE KEY-----\nMII{}\n{}=\n-----END RSA PRIVATE KEY-----",
    "openssh": "-----BEGIN OPENSSH PRIVATE KEY-----\n{}\n-----END OPENSSH PRIVATE KEY-----",
    "pem with headers": "-----BEGIN EC PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES\n\n{}\n"
    "-----END EC PRIVATE KEY-----",
    "pem cut": "-----BEGIN PRIVATE KEY-----\n{}aaaaaaaaaaaaaaaaaaaaaaaa",
    "pem with headers cut": "-----BEGIN EC PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\n{}aaaaaaaaaaaaaa",
    "pem in lines of a log": "1 a -----BEGIN PRIVATE KEY-----\n1 a {}\n1 a -----END PRIVATE KEY-----",
    "pgp": "-----BEGIN PGP PRIVATE KEY BLOCK-----\n\n{}\n-----END PGP PRIVATE KEY BLOCK-----",
    "pem in json": '"private_key": "-----BEGIN PRIVATE KEY-----\\n{}\\n-----END PRIVATE KEY-----\\n"',
    "age": "AGE-SECRET-KEY-1{}",
    # Headers
    "bearer": "Authorization: Bearer {}",
    "bearer alone": "sent bearer {}",
    "token": "authorization: token {}",
    "digest": 'Authorization: Digest username="me", realm="r", nonce="n", response="{}"',
    "folded": "Authorization: Bearer\n {}\nHost: a",
    "folded basic": "> Authorization: Basic\r\n\t{}\r\n> Host: a",
    "folded scheme": "Proxy-Authorization:\n    Bearer {}\nHost: a",
    "curl": "> x-api-key: {}",
    "curl header": "curl -H 'Authorization: Bearer {}' http://a",
    "curl header key": 'curl -H "X-Auth-Token: {}" http://a',
    "headers": "headers={{'authorization': 'Bearer {}', 'accept': '*/*'}}",
    "headers of httpx": "Headers([('host', 'a'), ('authorization', 'Bearer {}')])",
    "headers of asgi": "[(b'host', b'a'), (b'authorization', b'Bearer {}')]",
    "headers of asgi key": "[(b'x-api-key', b'{}')]",
    "headers of go": "map[Authorization:[Bearer {}] Accept:[*/*]]",
    "headers in json": '{{"headers": {{"Authorization": ["Bearer {}"]}}}}',
    "cookie": "Cookie: theme=dark; session={}; a=b",
    "set cookie": "set-cookie: sid={}; Path=/; HttpOnly",
    "cookie in json": '{{"cookie": "sid={}"}}',
    "session": "sessionid={}",
    "csrf": "X-CSRFToken: {}",
    "jsession": "JSESSIONID={}",
    "amazon token": "X-aws-ec2-metadata-token: {}",
    # Addresses
    "presigned": "GET https://b.s3.amazonaws.com/k?X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F2026&X-Amz-Signature={}",
    "presigned session": "https://b/k?X-Amz-Security-Token={}&X-Amz-Date=2026",
    "presigned old": "https://b.s3.amazonaws.com/k?AWSAccessKeyId=AKIAIOSFODNN7EXAMPLE&Signature={}%3D&Expires=1",
    "cloudfront": "https://cdn/x?Expires=1&Signature={}&Key-Pair-Id=K1&Policy=eyJTdGF0ZW1lbnQiOlt7fV19",
    "azure sas": "https://a.blob.core.windows.net/c?sv=2024&sig={}%3D&se=2026",
    "query": "GET /v1?api_key={}&x=1",
    "query token": "https://host/?access_token={}",
    "query key": "https://maps/x?key={}&z=1",
    "query code": "GET /callback?code={}&state=xyz",
    "query encoded": "redirect=%2Fcb%3Ftoken%3D{}%26x%3D1",
    "query twice encoded": "next=%252F%253Fapi_key%253D{}%2526",
    "fragment": "https://app/#access_token={}&expires_in=3600",
    "form": "grant_type=client_credentials&client_secret={}&client_id=x",
    "multipart": 'Content-Disposition: form-data; name="password"\r\n\r\n{}\r\n--x',
    # Command lines
    "flag": "vllm serve m --api-key {} --port 8000",
    "flag with =": "vllm serve m --api-key={} --port 8000",
    "flag in quotes": 'vllm serve m --api-key "{}" --port 8000',
    "flag in =quotes": "vllm serve m --hf-token='{}' --port 8000",
    "flag with _": "vllm serve m --api_key {}",
    "flag of several": "vllm serve m --api-key first {} --port 8000",
    "flag in list": "['vllm', 'serve', '--api-key', '{}', '--port']",
    "flag in json": '"argv": ["vllm", "--api-key", "{}"]',
    "flag in lines": "argv:\n- --api-key\n- {}\n- --port",
    "flag continued": "vllm serve m \\\n  --api-key \\\n  {} \\\n  --port 8000",
    "flag with nul": "vllm\0serve\0--api-key\0{}\0--port",
    "single dash": "openssl rsa -passin pass:{} -in k",
    "single dash word": "app -password {} -x",
    "single dash =": "app -token={} -x",
    "java": "java -Djavax.net.ssl.keyStorePassword={} -jar x",
    "mysql": "mysql -u root -p{} db",
    "mysql alone": "mysql -p{}",
    "mysqldump": "+ mysqldump -uroot -p{} --all-databases",
    "mysql in quotes": "mysql -u root -p'{}' db",
    "mysql in list": "['mysql', '-uroot', '-p{}', 'db']",
    "mysql with a path": "/usr/bin/mysql -h db -p{} x",
    "mariadb": "mariadb --user=a -p{}",
    "mongo shell": "mongosh -u me -p {} --host a",
    "redis": "redis-cli -h a -a {} ping",
    "redis glued": "redis-cli -a{}",
    "sshpass": "sshpass -p {} ssh a",
    "sshpass glued": "sshpass -p'{}' ssh a",
    "docker login": "docker login -u me -p {} ghcr.io",
    "docker login of a registry": "podman login ghcr.io -u me -p{}",
    "smbclient": "smbclient //a/b -U me%{}",
    "ldap": "ldapsearch -x -D cn=a -w {} -b dc=x",
    "curl user": "curl -u me:{} http://a",
    "curl user glued": "curl -ume:{} http://a",
    "curl user in quotes": "curl -u 'me:{}' http://a",
    "curl user long": "curl --user me:{} http://a",
    "curl proxy": "curl --proxy-user me:{} http://a",
    "wget": "wget --http-password={} http://a",
    "htpasswd command": "htpasswd -b file me {}",
    "docker run": "docker run -e HF_TOKEN={} -p 8000:8000 image",
    "docker run glued": "docker run -eHF_TOKEN={} image",
    "docker run long": "docker run --env HF_TOKEN={} image",
    "docker run =": "docker run --env=HF_TOKEN={} image",
    "docker run in quotes": "docker run -e 'HF_TOKEN={}' image",
    "docker build": "docker build --build-arg HF_TOKEN={} .",
    "kubectl": "kubectl create secret generic x --from-literal=hf={}",
    "helm": "helm install x --set secrets.hfToken={}",
    "login": "huggingface-cli login --token {}",
    "openssl": "openssl enc -aes-256-cbc -k {} -in a",
    "zip": "zip --password {} a.zip a",
    "7z": "7z x -p{} a.7z",
    "echo": "echo {} | docker login --password-stdin",
    "here": "HF_TOKEN={} vllm serve m",
    "sudo": "sudo HF_TOKEN={} -u me vllm",
    "trace": "+ export HF_TOKEN={}",
    "trace in quotes": "+ HF_TOKEN='{}'",
    "declare": 'declare -x HF_TOKEN="{}"',
    "proc environ": "A=1\0HF_TOKEN={}\0B=2",
    "url of pip": "pip install --index-url https://me:{}@pypi.example/simple x",
    # Escaped
    "json in json": json.dumps(json.dumps({"api_key": "{}"}))
    .replace("{", "{{")
    .replace("}", "}}")
    .replace("{{}}", "{}"),
    "json escaped thrice": '\\\\\\"api_key\\\\\\": \\\\\\"{}\\\\\\"',
    "line in json": '{{"message": "failed\\nHF_TOKEN={}\\nmore"}}',
    "unicode in json": '"\\u0061pi_key": "{}"',
    "quotes as entities": "&quot;api_key&quot;: &quot;{}&quot;",
    "colour": "\x1b[31mpassword\x1b[0m=\x1b[32m{}\x1b[0m",
    "table": "| HF_TOKEN | {} |",
    "table of rich": "│ api_key │ {} │",
    "columns": "HF_TOKEN                         {}",
    "arrow": "api_key -> {}",
    "wide spaces": "password:        {}",
    "tab": "password\t{}",
    "one blank": "passwd {}",
    "one blank of rails": "SECRET_KEY_BASE {}",
    "one blank in a line": "2026-01-02 INFO ssh-pass {} was given",
    "two words": "Enter pass phrase: {}",
    "two words in a configuration": 'pass phrase = "{}"',
}


def _all() -> tuple[Planted, ...]:
    found = []
    for name, text in _TEXTS.items():
        secret = word(name)
        found.append(Planted(name, text.format(*[secret] * text.count("{}")), (secret,)))
    for name, frame in {
        "basic": "Authorization: Basic {}",
        "basic alone": "sent Basic {} to the proxy",
        "basic in json": '{{"authorization": "Basic {}"}}',
        "docker auth": '{{"auths":{{"https://index.docker.io/v1/":{{"auth":"{}"}}}}}}',
        "npm auth": "_auth={}",
        "k8s docker": "  .dockerconfigjson: {}",
    }.items():
        secret = _encoded(f"me:{word(name)}")
        found.append(Planted(name, frame.format(secret), (secret, secret[4:-4])))
    for name, start, length in (
        ("digitalocean", "dop_v1_", 64),
        ("databricks", "dapi", 32),
        ("datadog", "DD_API_KEY=", 32),
    ):
        found.append(Planted(name, f"with {start}{digits(name, length)}", (digits(name, length),)))
    awkward = f"p@{word('awkward')}/&:{word('tail')}"
    for name, frame in {
        "address awkward": "postgres://me:{}@db/x",
        "query awkward": "?password={}&x=1",
    }.items():
        secret = quote(awkward, safe="")
        found.append(Planted(name, frame.format(secret), (word("awkward"), word("tail"))))
    found.append(
        Planted(
            "access key",
            "key AKIA" + word("access key").upper()[:16].replace("=", "A"),
            ("AKIA" + word("access key").upper()[:16],),
        )
    )
    found.append(
        Planted("secret key bare", "keys: AKIAIOSFODNN7EXAMPLE:" + word("bare", 40), (word("bare", 40),))
    )
    return tuple(found)


SHAPES = _all()

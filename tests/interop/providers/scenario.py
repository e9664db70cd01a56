"""Rings under AWS KMS (moto) and a PKCS#11 token (SoftHSM2): see `run`, which starts it. Prints one JSON line."""

import json
import os
import pathlib
import re
import subprocess
import sys
import urllib.request

import boto3

sudare, work, endpoint, module = sys.argv[1:]
work = pathlib.Path(work)
CLEAR = "Mei Tanaka"
checks = 0


def run(folder, *words, env=None, code=0):
    """Runs sudare in a folder; what it printed, on both outputs."""
    full = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    full |= {"HOME": str(work / "home")} | (env or {})
    done = subprocess.run([sudare, *words], cwd=folder, env=full, capture_output=True, text=True, timeout=120)
    said = done.stdout + done.stderr
    assert done.returncode == code, f"{words}: exit code {done.returncode}, expected {code}:\n{said}"
    for secret in (access["SecretAccessKey"], other["SecretAccessKey"], "87654321", CLEAR if words[0] == "keys" else "no such"):
        assert secret not in said, f"{words}: says a secret"
    return said


def check(what, is_so, said=""):
    global checks
    assert is_so, f"{what}\n{said}"
    checks += 1


def says(folder, *words, env=None, code=1, expected):
    said = run(folder, *words, env=env, code=code)
    check(f"{words} says {expected!r}", expected in said, said)


def folder_with(name, kek, controller=None):
    folder = work / name
    run(work, "init", "--dir", str(folder))
    set_keys(folder, kek)
    if controller:
        edit(folder, lambda text: re.sub(r'(?m)^controller\s*=.*$', f'controller = "{controller}"', text))
    for path in (folder / "keys").glob("*"):
        path.unlink()
    return folder


def edit(folder, change):
    file = folder / "sudare.toml"
    file.write_text(change(file.read_text()))


def set_keys(folder, kek, more=""):
    def change(text):
        text = re.sub(r"(?m)^next_kek\s*=.*\n", "", text)
        return re.sub(r"(?m)^kek\s*=.*$", lambda _: f"kek = {kek}" + more, text, count=1)

    edit(folder, change)


def ring(folder):
    return json.loads((folder / "keys/ring.json").read_text())


# --- what the services know
admin = {"aws_access_key_id": "setup", "aws_secret_access_key": "setup", "region_name": "eu-central-1", "endpoint_url": endpoint}
kms, iam = boto3.client("kms", **admin), boto3.client("iam", **admin)
arn, second = (kms.create_key(Description="sudare")["KeyMetadata"]["Arn"] for _ in range(2))
kms.create_alias(AliasName="alias/sudare", TargetKeyId=arn)


def user(name, actions):
    iam.create_user(UserName=name)
    document = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": actions, "Resource": "*"}]}
    iam.put_user_policy(UserName=name, PolicyName="kms", PolicyDocument=json.dumps(document))
    return iam.create_access_key(UserName=name)["AccessKey"]


access, other = user("sudare", ["kms:Encrypt", "kms:Decrypt"]), user("other", ["s3:ListBucket"])
trust = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": "*", "Action": "sts:AssumeRoleWithWebIdentity"}]}
role = iam.create_role(RoleName="sudare", AssumeRolePolicyDocument=json.dumps(trust))["Role"]["Arn"]
allowed = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": ["kms:Encrypt", "kms:Decrypt"], "Resource": "*"}]}
iam.put_role_policy(RoleName="sudare", PolicyName="kms", PolicyDocument=json.dumps(allowed))
def check_all_but(calls):
    """From now on signatures and policies are checked, after so many calls."""
    body, plain = str(calls).encode(), {"Content-Type": "text/plain"}
    urllib.request.urlopen(urllib.request.Request(f"{endpoint}/moto-api/reset-auth", body, plain, method="POST")).read()


check_all_but(0)


def env_of(key):
    return {"AWS_ACCESS_KEY_ID": key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"]}


ours = env_of(access)
kms_kek = f'{{ provider = "aws-kms", key = "{arn}", endpoint = "{endpoint}", sts_endpoint = "{endpoint}" }}'
alias_kek = kms_kek.replace(arn, "alias/sudare").replace(" endpoint", ' region = "eu-central-1", endpoint', 1)
(work / "pin").write_text("87654321\n")
(work / "pin").chmod(0o600)
hsm_kek = f'{{ provider = "pkcs11", module = "{module}", token = "sudare-test", key = "sudare", pin = "file:{work}/pin" }}'

# --- AWS KMS
aws = folder_with("aws", kms_kek)
run(aws, "keys", "init", env=ours)
kek = ring(aws)["kek"]
check("the ring names the key by its ARN", (kek["provider"], kek["key"]) == ("aws-kms", arn), kek)
check("sound", "sound: " in run(aws, "keys", "verify", env=ours))
run(aws, "keys", "rotate", env=ours)
said = run(aws, "keys", "change-kek", "--same", env=ours)
check("wrapped anew", ring(aws)["kek"]["root"] != kek["root"] and "opened whole under it" in said, said)
wrong = ours | {"AWS_SECRET_ACCESS_KEY": "wrong" + access["SecretAccessKey"][5:]}
says(aws, "keys", "list", env=wrong, expected="it does not accept our credentials")
says(aws, "keys", "list", env=ours | {"AWS_ACCESS_KEY_ID": "AKIANOTTHERE00000000"}, expected="it does not accept our credentials")
says(aws, "keys", "list", env=env_of(other), expected="it refuses to use this key: AccessDenied")
says(aws, "keys", "list", expected="there are no credentials for AWS")
elsewhere = work / "elsewhere"
elsewhere.mkdir()
(elsewhere / "credentials").write_text(
    f"[default]\naws_access_key_id = {other['AccessKeyId']}\naws_secret_access_key = {other['SecretAccessKey']}\n"
    f"[sudare]\naws_access_key_id = {access['AccessKeyId']}\naws_secret_access_key = {access['SecretAccessKey']}\n"
)
(elsewhere / "credentials").chmod(0o600)
shared = {"AWS_SHARED_CREDENTIALS_FILE": str(elsewhere / "credentials")}
check("a profile", "sound" in run(aws, "keys", "verify", env=shared | {"AWS_PROFILE": "sudare"}))
says(aws, "keys", "list", env=shared, expected="AccessDenied")
says(aws, "keys", "list", env=shared | {"AWS_PROFILE": "none"}, expected="has no profile [none]")
(elsewhere / "token").write_text("eyJ.web.identity\n")
web = {"AWS_WEB_IDENTITY_TOKEN_FILE": str(elsewhere / "token"), "AWS_ROLE_ARN": role}
# moto wants a signature of those who have nothing to sign with yet: of the call to STS, which comes first.
check_all_but(1)
check("a web identity", "sound" in run(aws, "keys", "verify", env=web))
says(aws, "keys", "list", env=web | {"AWS_WEB_IDENTITY_TOKEN_FILE": str(elsewhere / "gone")}, expected="gone")
set_keys(aws, alias_kek)
check("by its alias", "sound" in run(aws, "keys", "verify", env=ours))
set_keys(aws, kms_kek.replace(arn, second))
says(aws, "keys", "list", env=ours, expected="but the configuration names")
set_keys(aws, kms_kek)
# Another controller's root under the same key, in our file.
rival = folder_with("rival", kms_kek, controller="rival")
run(rival, "keys", "init", env=ours)
sound = (aws / "keys/ring.json").read_text()
(aws / "keys/ring.json").write_text(sound.replace(ring(aws)["kek"]["root"], ring(rival)["kek"]["root"]))
says(aws, "keys", "list", env=ours, expected="it cannot unwrap what stands in the ring")
(aws / "keys/ring.json").write_text(sound)

# --- PKCS#11
hsm = folder_with("hsm", hsm_kek)
run(hsm, "keys", "init")
check("the ring names the key by its label", ring(hsm)["kek"]["key"] == "sudare")
run(hsm, "keys", "rotate")
check("sound", "sound: " in run(hsm, "keys", "verify"))
set_keys(hsm, hsm_kek.replace("sudare-test", "no-such-token"))
says(hsm, "keys", "list", expected='there is no token with the label "no-such-token"')
set_keys(hsm, hsm_kek.replace('key = "sudare"', 'key = "none"'))
says(hsm, "keys", "list", expected="but the configuration names")
fresh = folder_with("fresh", hsm_kek.replace('key = "sudare"', 'key = "none"'))
says(fresh, "keys", "init", expected="there is no AES key with this label on the token")
set_keys(hsm, hsm_kek.replace(module, "/usr/lib/none.so"))
says(hsm, "keys", "list", expected="cannot be used as a PKCS#11 library")
(work / "wrong-pin").write_text("00000000")
(work / "wrong-pin").chmod(0o600)
set_keys(hsm, hsm_kek.replace(f"{work}/pin", f"{work}/wrong-pin"))
says(hsm, "keys", "list", expected="the PIN is wrong")
set_keys(hsm, hsm_kek)
theirs = folder_with("their-hsm", hsm_kek, controller="rival")
run(theirs, "keys", "init")
sound = (hsm / "keys/ring.json").read_text()
(hsm / "keys/ring.json").write_text(sound.replace(ring(hsm)["kek"]["root"], ring(theirs)["kek"]["root"]))
says(hsm, "keys", "list", expected="it cannot unwrap what stands in the ring")
(hsm / "keys/ring.json").write_text(sound)

# --- from one to another, with a value that must go on opening
moving = folder_with("moving", '{ provider = "file", path = "keys/kek" }')
run(moving, "keys", "init")
config = (moving / "sudare.toml").read_text()
collection = re.search(r"(?m)^\[collection\.([a-z-]+)\]", config).group(1)
(moving / "clear.jsonl").write_text(json.dumps({"id": "c-1", "name": CLEAR}) + "\n")
run(moving, "seal", "--collection", collection, "clear.jsonl", "sealed.jsonl")
check("sealed", CLEAR not in (moving / "sealed.jsonl").read_text() and "sdr1.x." in (moving / "sealed.jsonl").read_text())
at = '{ provider = "file", path = "keys/kek" }'
for number, to in enumerate([kms_kek, hsm_kek, '{ provider = "file", path = "keys/kek-2" }']):
    set_keys(moving, at, f"\nnext_kek = {to}")
    check("before, under both", "sound" in run(moving, "keys", "verify", env=ours))
    said = run(moving, "keys", "change-kek", env=ours)
    check("moved", f"revision {number + 2}, opened whole under it" in said, said)
    check("again", "there was nothing to do" in run(moving, "keys", "change-kek", env=ours))
    set_keys(moving, to)
    out = f"opened-{number}.jsonl"
    run(moving, "open", "--collection", collection, "--reason", "the KEK moved", "sealed.jsonl", out, env=ours)
    check("the value opens", json.loads((moving / out).read_text())["name"] == CLEAR)
    at = to

print(json.dumps({"checks": checks, "providers": ["aws-kms: moto, signatures checked", "pkcs11: SoftHSM2"]}))

"""What is made once in Google Cloud, against a stand-in for gcloud: who may do what, and where the keys go."""

import json
import shlex
import subprocess

import pytest
import yaml

from cluster.render import values

GCP = values()["gcp"]
SECRET = "the-secret-of-the-keys"
GCLOUD = """#!/usr/bin/env python3
import json, pathlib, sys
argv = sys.argv[1:]
files = {}
for word in argv:
    option, _, value = word.partition("=")
    if option in ("--file", "--lifecycle-file", "--data-file"):
        files[option] = pathlib.Path(value).read_text()
with open(CALLS, "a") as calls:
    print(json.dumps([argv, files]), file=calls)
if "describe" in argv:
    sys.exit(THERE)
if argv[:3] == ["storage", "hmac", "create"]:
    print("GOOG1KEY\\t" + SECRET)
"""


@pytest.fixture
def set_up(tmp_path, folder):
    """Runs the script; gives each call of gcloud as its words and the files it was given, and what was printed."""

    def set_up(there):
        calls, gcloud = tmp_path / "calls", tmp_path / "gcloud"
        calls.unlink(missing_ok=True)
        constants = f"CALLS, THERE, SECRET = {str(calls)!r}, {0 if there else 1}, {SECRET!r}\n"
        gcloud.write_text(GCLOUD.replace("argv =", constants + "argv =", 1))
        gcloud.chmod(0o755)
        environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "TMPDIR": str(tmp_path)}
        script = ["bash", str(folder / "gcp_setup.sh")]
        ended = subprocess.run(script, env=environment, capture_output=True, text=True, check=True)
        return [json.loads(line) for line in calls.read_text().splitlines()], ended.stdout + ended.stderr

    return set_up


def granted(calls):
    """Who has been given which role, on what."""
    found = set()
    for argv, _ in calls:
        if "add-iam-policy-binding" in argv:
            options = dict(word.split("=", 1) for word in argv if "=" in word)
            kind = argv[: argv.index("add-iam-policy-binding")]
            thing = argv[argv.index("add-iam-policy-binding") + 1]
            who = options["--member"].removeprefix("serviceAccount:").partition("@")[0]
            found.add((who, options["--role"].rpartition("/")[2], kind[0], thing))
    return found


def test_accounts_have_these_rights_and_no_others(set_up):
    calls, _ = set_up(there=False)
    project, worker = GCP["project"], f"aign-worker@{GCP['project']}.iam.gserviceaccount.com"
    assert granted(calls) == {
        ("aign-worker", "storage.objectUser", "storage", f"gs://{GCP['bucket']}"),
        ("aign-worker", "artifactregistry.reader", "artifacts", "aign"),
        ("aign-worker", "secretmanager.secretAccessor", "secrets", "aign-storage"),
        ("aign-head", "artifactregistry.reader", "artifacts", "aign"),
        ("aign-head", "secretmanager.secretAccessor", "secrets", "aign-storage"),
        ("aign-head", "iam.serviceAccountUser", "iam", worker),
        ("aign-head", "aignLauncher", "projects", project),
    }
    (role,) = [yaml.safe_load(files["--file"]) for argv, files in calls if argv[:3] == ["iam", "roles", "create"]]
    may = {permission.split(".")[1] for permission in role["includedPermissions"]}
    assert may == {"disks", "instances", "subnetworks", "zoneOperations"}


def test_the_bucket_is_closed_and_cleans_up(set_up):
    calls, _ = set_up(there=False)
    (made,) = [argv for argv, _ in calls if argv[:3] == ["storage", "buckets", "create"]]
    assert {"--uniform-bucket-level-access", "--public-access-prevention", f"--location={GCP['region']}"} <= set(made)
    (rules,) = [json.loads(files["--lifecycle-file"]) for _, files in calls if "--lifecycle-file" in files]
    assert rules["rule"][0]["action"]["type"] == "AbortIncompleteMultipartUpload"


def test_keys_are_kept_as_a_secret_and_nowhere_else(set_up, tmp_path):
    calls, said = set_up(there=False)
    kept = [(argv[:3], files["--data-file"]) for argv, files in calls if "--data-file" in files]
    assert kept == [
        (["secrets", "versions", "add"], f"AWS_ACCESS_KEY_ID=GOOG1KEY\nAWS_SECRET_ACCESS_KEY={SECRET}\n"),
    ]
    assert SECRET not in said
    assert not any(SECRET in word for argv, _ in calls for word in argv)
    left = [path for path in tmp_path.rglob("*") if path.is_file() and path.name not in ("calls", "gcloud")]
    assert not left


def test_what_is_there_is_not_made_again(set_up):
    calls, _ = set_up(there=True)
    made = {shlex.join(argv[:3]) for argv, _ in calls if "create" in argv}
    assert made == {"storage hmac create"}


def test_nodes_are_the_accounts_that_it_makes(set_up, read):
    calls, _ = set_up(there=False)
    made = {argv[3] for argv, _ in calls if argv[:3] == ["iam", "service-accounts", "create"]}
    kinds = read("gcp.yaml")["available_node_types"]
    had = {name: kind["node_config"]["serviceAccounts"][0]["email"].partition("@")[0] for name, kind in kinds.items()}
    assert set(had.values()) == made
    assert had.pop("head") == "aign-head"
    assert set(had.values()) == {"aign-worker"}

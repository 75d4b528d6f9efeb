"""Passwords, keys and certificates of a local Kafka, readable by their owner alone."""

import secrets
import shutil
from pathlib import Path

from kafka_tools import run

PASSWORD_BYTES = 18
USERS = ("admin", "fabpilot", "stranger")


def make_secrets(folder: Path) -> None:
    """Make what is missing: users' passwords, a key for the nodes, the certificate to trust."""
    folder.mkdir(mode=0o700, exist_ok=True)
    for name in (*USERS, "keystore"):
        file = folder / name
        if not file.exists():
            file.touch(mode=0o600)
            file.write_text(secrets.token_urlsafe(PASSWORD_BYTES))
    store = folder / "keystore.p12"
    if store.exists():
        return
    keytool = shutil.which("keytool") or "keytool"
    common = ["-keystore", str(store), "-storepass:file", str(folder / "keystore")]
    common += ["-alias", "node"]
    make = ["-genkeypair", "-keyalg", "EC", "-groupname", "secp256r1", "-validity", "3650"]
    # Its own authority: whoever trusts this certificate trusts this cluster and no other.
    make += ["-dname", "CN=kafka-local", "-ext", "san=ip:127.0.0.1,dns:localhost"]
    make += ["-ext", "bc:critical=ca:true", "-ext", "ku:critical=digitalSignature,keyCertSign"]
    run([keytool, *make, "-storetype", "PKCS12", *common])
    store.chmod(0o600)
    run([keytool, "-exportcert", "-rfc", "-file", str(folder / "ca.pem"), *common])

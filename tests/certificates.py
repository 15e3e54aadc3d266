"""Certificates for tests: an authority, and what it has signed."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from vllm_multinode.launcher.tls import Certificate

SERVER, CLIENT = ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH
_PEM = serialization.Encoding.PEM


class Authority:
    """Signs certificates.

    Args:
        folder: for its own certificate, `ca.crt`, and for those that it signs.
        name: of the authority.
    """

    def __init__(self, folder: Path, name: str = "authority") -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _named(name)
        self.file = folder / f"{name}.crt"
        signed = self._sign(self._name, self._key, ca=True, usages=(), days=1)
        self.file.write_bytes(signed.public_bytes(_PEM))

    def issue(
        self,
        name: str,
        *usages: x509.ObjectIdentifier,
        days: int = 1,
        password: str = "",
        one_file: bool = False,
    ) -> Certificate:
        """Files of a certificate and its key.

        Args:
            name: of whom it is for, and of the files.
            usages: that it is good for; none says nothing, which is any.
            days: until it expires; below 0 it has.
            password: of the key.
            one_file: whether the key stands in the certificate's file.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        hidden: serialization.KeySerializationEncryption = serialization.NoEncryption()
        if password:
            hidden = serialization.BestAvailableEncryption(password.encode())
        secret = key.private_bytes(_PEM, serialization.PrivateFormat.PKCS8, hidden)
        signed = self._sign(_named(name), key, ca=False, usages=usages, days=days).public_bytes(_PEM)
        file, key_file = self._folder / f"{name}.crt", self._folder / f"{name}.key"
        if one_file:
            file.write_bytes(signed + secret)
            return Certificate(str(file))
        file.write_bytes(signed)
        key_file.write_bytes(secret)
        return Certificate(str(file), str(key_file))

    def _sign(
        self,
        name: x509.Name,
        key: ec.EllipticCurvePrivateKey,
        *,
        ca: bool,
        usages: tuple[x509.ObjectIdentifier, ...],
        days: int,
    ) -> x509.Certificate:
        now = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=10))
            .not_valid_after(now + timedelta(days=days))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        )
        if usages:
            builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        return builder.sign(self._key, hashes.SHA256())


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])

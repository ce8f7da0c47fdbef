"""A DTLS client on Mbed TLS (python-mbedtls), driven line by line as ../README.md says."""

import socket
import sys

from mbedtls import tls

PATIENCE = 10
SUITES = {"C0A8": "TLS-PSK-WITH-AES-128-CCM-8", "00AE": "TLS-PSK-WITH-AES-128-CBC-SHA256"}


def connect(options: dict[str, str]) -> tls.TLSWrappedSocket:
    configuration = tls.DTLSConfiguration(
        pre_shared_key=(options["identity"], bytes.fromhex(options["key"])),
        ciphers=[SUITES[options["suite"]]],
        validate_certificates=False,
        lowest_supported_version=tls.DTLSVersion.DTLSv1_2,
    )
    host, _, port = options["address"].rpartition(":")
    plain = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    plain.settimeout(PATIENCE)
    secured = tls.ClientContext(configuration).wrap_socket(plain, server_hostname=None)
    secured.connect((host, int(port)))
    secured.do_handshake()
    return secured


def main() -> None:
    options = dict(argument.split("=", 1) for argument in sys.argv[1:])
    connection = None
    for line in sys.stdin:
        verb, _, argument = line.strip().partition(" ")
        try:
            if verb == "connect":
                connection = connect(options)
                answer = "ok"
            elif verb == "send":
                connection.send(bytes.fromhex(argument))
                answer = f"answer {connection.recv(4096).hex()}"
            else:
                answer = "error no such verb"
        except Exception as error:
            answer = f"error {error!r}"
        print(answer, flush=True)


main()

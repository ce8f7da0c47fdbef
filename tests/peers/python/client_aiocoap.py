"""A CoAP client on aiocoap with tinydtls (DTLSSocket), driven line by line as ../README.md says."""

import asyncio
import sys

import aiocoap

PATIENCE = 10


async def main() -> None:
    options = dict(argument.split("=", 1) for argument in sys.argv[1:])
    uri = f"coaps://{options['address']}"
    credentials = {
        f"{uri}/*": {
            "dtls": {"psk": bytes.fromhex(options["key"]), "client-identity": options["identity"].encode()}
        }
    }
    context = None
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        verb, _, argument = line.strip().partition(" ")
        try:
            if verb == "connect":
                # tinydtls connects with the first request.
                context = await aiocoap.Context.create_client_context(transports=["tinydtls"])
                context.client_credentials.load_from_dict(credentials)
                answer = "ok"
            elif verb == "get":
                request = aiocoap.Message(code=aiocoap.GET, uri=uri + argument)
                response = await asyncio.wait_for(context.request(request).response, PATIENCE)
                answer = f"answer {response.payload.hex()}"
            else:
                answer = "error no such verb"
        except Exception as error:
            answer = f"error {error!r}"
        print(answer, flush=True)


asyncio.run(main())

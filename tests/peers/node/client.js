// A CoAP client on node-coap-client, driven line by line as ../README.md says.
"use strict";

const readline = require("readline");
const { CoapClient } = require("node-coap-client");

const options = Object.fromEntries(process.argv.slice(2).map((argument) => argument.split(/=(.*)/s, 2)));
const uri = `coaps://${options.address}`;
const [host] = options.address.split(":");

async function run(verb, argument) {
  if (verb === "connect") {
    // Keys are text here; the bytes of the key must be ASCII.
    CoapClient.setSecurityParams(host, {
      psk: { [options.identity]: Buffer.from(options.key, "hex").toString("ascii") },
    });
    CoapClient.reset();
    const result = await CoapClient.tryToConnect(uri);
    return result === true ? "ok" : `error ${result}`;
  }
  if (verb === "get") {
    const response = await CoapClient.request(uri + argument, "get", undefined, { keepAlive: true });
    return `answer ${(response.payload || Buffer.alloc(0)).toString("hex")}`;
  }
  return "error no such verb";
}

async function main() {
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const [verb, argument] = line.split(" ", 2);
    try {
      console.log(await run(verb, argument));
    } catch (error) {
      console.log(`error ${error}`);
    }
  }
  process.exit(0);
}

main();

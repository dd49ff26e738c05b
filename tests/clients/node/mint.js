// Mints through node-redis. The first argument is the port, the second one the password.
import { createClient } from "redis";

const [port, password] = process.argv.slice(2);
for (const RESP of [2, 3]) {
  const client = createClient({ RESP, password, socket: { host: "127.0.0.1", port: Number(port) } });
  await client.connect();
  const [one, five] = [await client.incr("integers"), await client.incrBy("integers", 5)];
  console.log(one, five, await client.get("integers"));
  // Commands of the same turn are one pipeline.
  console.log(...(await Promise.all([1, 2, 3].map(() => client.incr("integers")))));
  await client.close();
}

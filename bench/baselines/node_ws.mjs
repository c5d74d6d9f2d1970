// Send every line that arrives on the publishing port to every open WebSocket, with Node's `ws` package.
import { createRequire } from "node:module";
import net from "node:net";

const { WebSocketServer } = createRequire(process.env.BENCH_NODE_FROM)("ws");
const [port, publishPort] = process.argv.slice(2).map(Number);
const server = new WebSocketServer({ host: "127.0.0.1", port, perMessageDeflate: false });

function broadcast(line) {
  for (const client of server.clients) client.send(line, { binary: false });
}

net
  .createServer((publisher) => {
    let rest = Buffer.alloc(0);
    publisher.on("data", (chunk) => {
      rest = Buffer.concat([rest, chunk]);
      for (let end = rest.indexOf(10); end >= 0; end = rest.indexOf(10)) {
        broadcast(rest.subarray(0, end));
        rest = rest.subarray(end + 1);
      }
    });
  })
  .listen(publishPort, "127.0.0.1");

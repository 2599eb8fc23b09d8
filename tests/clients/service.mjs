// A service whose handler waits for the limiter as those of the plan do. OPTIONS has options of the limiter as JSON.
import { createServer } from "node:http";

const { rateLimit, rateLimitPresets } = await import(process.env.PACKAGE);

const limiter = rateLimit({ ...rateLimitPresets.standard, ...JSON.parse(process.env.OPTIONS ?? "{}") });

createServer(async (request, response) => {
  if (request.url === "/ready") return response.end();
  try {
    await new Promise((resolve) => limiter(request, response, resolve));
    response.end("the work was done");
  } catch (error) {
    if (error.name !== "RequestRefused") throw error;
  }
}).listen(Number(process.env.PORT), "127.0.0.1");

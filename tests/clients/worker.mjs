// A worker of the queue QUEUE_URL. With HANG=1 its handler takes a minute; it prints a line when a run begins.
const { fromSqs, Worker } = await import(process.env.PACKAGE);

async function sqs(action, input) {
  const response = await fetch(process.env.AWS_ENDPOINT_URL, {
    method: "POST",
    headers: {
      "Content-Type": "application/x-amz-json-1.0",
      "X-Amz-Target": `AmazonSQS.${action}`,
      // The emulator reads the service and the region, and checks no signature.
      Authorization: "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/sqs/aws4_request, SignedHeaders=host, Signature=0",
    },
    body: JSON.stringify(input),
  });
  if (!response.ok) throw new Error(`${action}: ${response.status} ${await response.text()}`);
  return response.json();
}

const client = {
  receiveMessage: (input) => sqs("ReceiveMessage", input),
  deleteMessage: (input) => sqs("DeleteMessage", input),
  changeMessageVisibility: (input) => sqs("ChangeMessageVisibility", input),
};

async function handler(run) {
  console.log(`begun ${run.job.id} ${run.job.epoch} ${run.job.payload.directory} after ${run.job.lastProgress?.percent ?? "none"}`);
  run.progress(40.5, "maps");
  await run.note("submitted", "maps/1");
  if (process.env.HANG) await new Promise((resolve) => setTimeout(resolve, 60_000));
  return { submitted: run.job.packageSize };
}

const worker = new Worker({ queues: { default: { receive: fromSqs(client, process.env.QUEUE_URL, 1), handler } } });
await worker.run();
console.log("left");

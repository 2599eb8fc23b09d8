"""What is said where no alert channel is configured. It imports nothing, as every process checks its settings at start."""

SENTENCE = "No alert channel is configured: nobody learns of dead letters without looking at the console."
ADVICE = "Set SLACK_WEBHOOK_URL or OPSCONSOLE_ALERT_CHANNELS."

variable "dlq_names" {
  description = "The names of the dead letter queues in this account and region, such as [\"jobs-dlq\"]. The name of a FIFO queue ends in .fifo."
  type        = set(string)

  validation {
    condition     = length(var.dlq_names) > 0 && alltrue([for name in var.dlq_names : can(regex("^[A-Za-z0-9_-]{1,80}(\\.fifo)?$", name))])
    error_message = "Give the name of at least one queue, not its URL or ARN."
  }
}

variable "endpoint_url" {
  description = "The address at which the console receives alarms, such as https://ops.example.com/hooks/sns."
  type        = string

  validation {
    condition     = can(regex("^https://[^/@?#]+/hooks/sns$", var.endpoint_url))
    error_message = "Give the console's https address with the path /hooks/sns."
  }
}

variable "name_prefix" {
  description = "The prefix of the names of the alarms and of the topic."
  type        = string
  default     = "opsconsole"

  validation {
    condition     = can(regex("^[A-Za-z0-9_-]{1,100}$", var.name_prefix))
    error_message = "Use letters, digits, hyphens and underscores, at most 100 characters."
  }
}

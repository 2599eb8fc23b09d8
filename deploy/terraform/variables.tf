variable "dlq_names" {
  description = "Names of the dead letter queues in this account and region, such as [\"jobs-dlq\"]. A FIFO queue's ends in .fifo."
  type        = set(string)

  validation {
    condition     = length(var.dlq_names) > 0 && alltrue([for name in var.dlq_names : can(regex("^[A-Za-z0-9_-]{1,80}(\\.fifo)?$", name))])
    error_message = "Give at least one queue, by its name and not by its URL or ARN."
  }
}

variable "endpoint_url" {
  description = "Where the console hears of alarms, such as https://ops.example.com/hooks/sns."
  type        = string

  validation {
    condition     = can(regex("^https://[^/@?#]+/hooks/sns$", var.endpoint_url))
    error_message = "It must be the console's https address with the path /hooks/sns."
  }
}

variable "name_prefix" {
  description = "What the names of the alarms and of the topic begin with."
  type        = string
  default     = "opsconsole"

  validation {
    condition     = can(regex("^[A-Za-z0-9_-]{1,100}$", var.name_prefix))
    error_message = "Letters, digits, hyphens and underscores, at most 100."
  }
}

"""Answers to recalls in the memory of this process: never staler than a stated bound."""

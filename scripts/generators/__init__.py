"""What writes the generated files of this repository; each module returns them as path -> content."""

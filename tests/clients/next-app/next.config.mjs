// Nothing outside this folder belongs to the application.
export default { outputFileTracingRoot: import.meta.dirname ?? process.cwd(), eslint: { ignoreDuringBuilds: true } };

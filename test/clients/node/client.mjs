// SPDX-License-Identifier: Apache-2.0
// What programs in JavaScript do with a cluster, that of KUBECONFIG.
import net from 'node:net';
import { Writable } from 'node:stream';
import * as k8s from '@kubernetes/client-node';

const namespace = 'from-node';
const config = new k8s.KubeConfig();
config.loadFromDefault();
const core = config.makeApiClient(k8s.CoreV1Api);

// ready resolves once the pod is Ready, as a watch tells.
function ready(name) {
  return new Promise((resolve, reject) => {
    let request;
    new k8s.Watch(config).watch(`/api/v1/namespaces/${namespace}/pods`, {}, (type, pod) => {
      if (pod.metadata.name === name && pod.status.conditions?.some((c) => c.type === 'Ready' && c.status === 'True')) {
        request.abort();
        resolve();
      }
    }, (err) => { if (err && err.name !== 'AbortError') reject(err); }).then((r) => { request = r; }, reject);
  });
}

function exec(name, command) {
  return new Promise((resolve, reject) => {
    let output = '';
    const sink = new Writable({ write(chunk, _, done) { output += chunk; done(); } });
    new k8s.Exec(config).exec(namespace, name, name, command, sink, process.stderr, null, false, (status) => {
      status.status === 'Success' ? resolve(output) : reject(new Error(status.message));
    }).catch(reject);
  });
}

// forwarded asks a port of a pod through the API server.
function forwarded(name, port) {
  return new Promise((resolve, reject) => {
    const forward = new k8s.PortForward(config);
    const server = net.createServer((socket) => forward.portForward(namespace, name, [port], socket, null, socket));
    server.listen(0, '127.0.0.1', async () => {
      try {
        const answer = await fetch(`http://127.0.0.1:${server.address().port}/`, { headers: { connection: 'close' } });
        resolve((await answer.text()).split('\n')[0]);
      } catch (err) {
        reject(err);
      }
      server.close();
      server.closeAllConnections?.();
    });
  });
}

const nodes = await core.listNode();
if (nodes.items.length === 0) throw new Error('no nodes');
await core.createNamespace({ body: { metadata: { name: namespace } } });
await core.createNamespacedService({ namespace, body: { metadata: { name: 'web' }, spec: { selector: { app: 'web' }, ports: [{ port: 80 }] } } });
await core.createNamespacedPod({
  namespace,
  body: {
    metadata: { name: 'web', labels: { app: 'web' } },
    spec: { terminationGracePeriodSeconds: 1, containers: [{ name: 'web', image: 'eastwest.local/tool', imagePullPolicy: 'Never' }] },
  },
});
await ready('web');
console.log('pod web is ready');
console.log('exec', (await exec('web', ['/eastwest-tool', 'resolve', 'web'])).trim());
console.log('forwarded', await forwarded('web', 80));
const patched = await core.patchNamespacedService(
  { name: 'web', namespace, body: { spec: { type: 'NodePort' } } },
  k8s.setHeaderOptions('Content-Type', k8s.PatchStrategy.StrategicMergePatch),
);
console.log('patched', patched.spec.type, patched.spec.ports[0].nodePort >= 30000);
try {
  await core.readNamespacedPod({ name: 'nobody', namespace });
} catch (err) {
  if (err.code !== 404) throw err;
}
await core.deleteNamespace({ name: namespace });
console.log('deleted');
process.exit(0);

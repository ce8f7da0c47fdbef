package godwit.tests;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import org.eclipse.leshan.core.request.ContentFormat;

/**
 * Many Leshan clients in one process, driven line by line.
 *
 * <p>A command is one line of fields parted by tabs: number, verb, client, arguments. Its answer bears the number, and
 * comes when the command is done; commands run side by side. Events come unasked. The process ends with its input.
 */
public final class Harness {
    private final Map<String, Client> clients = new ConcurrentHashMap<>();
    private final Threads threads = new Threads();
    private final Output output;

    private Harness(Output output) {
        this.output = output;
    }

    public static void main(String[] arguments) throws IOException {
        Harness harness = new Harness(new Output(new PrintStream(System.out, false, StandardCharsets.UTF_8)));
        System.setOut(System.err);
        ExecutorService commands = Executors.newCachedThreadPool(Threads::daemon);
        BufferedReader input = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = input.readLine(); line != null; line = input.readLine()) {
            String[] fields = line.split("\t", -1);
            commands.execute(() -> harness.answer(fields));
        }
        Runtime.getRuntime().halt(0);
    }

    private void answer(String[] fields) {
        try {
            Object value = run(fields[1], fields[2], Arrays.asList(fields).subList(3, fields.length));
            output.answer(fields[0], "value", value);
        } catch (Exception | LinkageError e) {
            e.printStackTrace();
            output.answer(fields[0], "error", e.toString());
        }
    }

    private Object run(String verb, String name, List<String> arguments) throws Exception {
        if (verb.equals("start")) {
            Map<String, String> options = new HashMap<>();
            for (String argument : arguments) {
                String[] parts = argument.split("=", 2);
                options.put(parts[0], parts[1]);
            }
            clients.put(name, new Client(name, options, output, threads));
            return null;
        }
        Client client = clients.get(name);
        if (client == null) {
            throw new IllegalArgumentException("no client " + name);
        }
        switch (verb) {
            case "set":
                client.set(arguments.get(0), arguments.get(1), true);
                return null;
            case "put":
                client.set(arguments.get(0), arguments.get(1), false);
                return null;
            case "fire":
                client.fire(arguments);
                return null;
            case "value":
                return client.value(arguments.get(0));
            case "refuse":
                client.refuse(arguments.get(0), arguments.get(1));
                return null;
            case "reset":
                client.reset(arguments.get(0));
                return null;
            case "update":
                client.update();
                return null;
            case "add":
                client.addInstance(arguments.get(0));
                return null;
            case "send":
                return client.send(format(arguments.get(0)), arguments.subList(1, arguments.size()));
            case "send-at":
                return client.sendAt(format(arguments.get(0)), arguments.subList(1, arguments.size()));
            case "resume":
                client.reconnect(true);
                return null;
            case "handshake":
                client.reconnect(false);
                return null;
            case "rebind":
                client.rebind();
                return null;
            case "restart":
                client.restart();
                return null;
            case "stop":
                client.stop(false);
                return null;
            case "deregister":
                client.stop(true);
                return null;
            default:
                throw new IllegalArgumentException("no verb " + verb);
        }
    }

    private static ContentFormat format(String code) {
        return ContentFormat.fromCode(Integer.parseInt(code));
    }
}
